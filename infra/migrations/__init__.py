"""Changes of the database's shape, in order; `infra.postgres.migrate` runs them."""
