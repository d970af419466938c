"""Integrations: what other services can do for people, apps and agents here, with the accounts they connected."""
