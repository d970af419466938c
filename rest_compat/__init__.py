"""REST as other systems speak it, generated: a route is a stored GraphQL operation.

Nothing here knows the domain, or Python of ours below it: only `schema.graphql` and a backend that executes.
"""
