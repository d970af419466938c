"""What alembic runs for every command: `infra.postgres.migrate` has put the connection and the models in place."""

from alembic import context

from infra.postgres.migrate import SCHEMA, of_ours

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=of_ours,
    compare_server_default=True,
    transaction_per_migration=True,  # so that one may leave its transaction, for CREATE INDEX CONCURRENTLY
)
with context.begin_transaction():
    context.run_migrations()
