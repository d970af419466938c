"""Hooks of records: jobs that a change hands in, in its own transaction."""
