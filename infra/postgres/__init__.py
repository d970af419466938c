"""PostgreSQL as the platform uses it."""
