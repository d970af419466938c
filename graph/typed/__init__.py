"""The typed schema of an app: its object types as GraphQL types, compiled into SQL instead of resolved."""
