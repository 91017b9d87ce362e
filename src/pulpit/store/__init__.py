"""The tables and every SQL statement, for SQLite and PostgreSQL."""
