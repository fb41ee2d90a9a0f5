"""Run the migrations on the connection that `web_tier.catalog.database` has opened."""

from alembic import context

from web_tier.catalog.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
