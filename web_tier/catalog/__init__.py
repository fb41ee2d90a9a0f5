"""Persistence of the web tier: one SQL database, SQLite or PostgreSQL, and the queries that read and write it."""
