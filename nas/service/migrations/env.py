"""Run by Alembic for every migration, on the connection and in the transaction of ``nas.service.schema``."""

from alembic import context

from nas.service import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    render_as_batch=True,  # SQLite can change most things of a table by copying it only
)
context.run_migrations()
