"""Alembic migrations, packaged so that they run wherever the service does."""
