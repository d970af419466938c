"""Adapters for the vault: encryption, and turning the master key."""
