"""The embedded engines: PostgreSQL and Valkey from their wheels, run as children of this process."""
