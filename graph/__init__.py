"""The GraphQL schema: it translates between callers and the domain, and decides nothing."""
