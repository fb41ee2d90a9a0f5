"""The ports on one machine: files, SQLite, worker processes."""
