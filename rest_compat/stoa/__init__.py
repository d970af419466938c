"""Stoa's own REST routes: what GraphQL hands out URLs for."""
