"""Adapters for signing in: OpenID Connect."""
