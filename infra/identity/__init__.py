"""Adapters for identity: password hashes and signed tokens."""
