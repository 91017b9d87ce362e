"""What Alembic runs: the steps, in one transaction, on the connection that it is handed."""

from alembic import context

from pulpit.store.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=True)
with connection.begin(), context.begin_transaction():
    context.run_migrations()
