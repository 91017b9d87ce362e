"""The tables and everything that is said to them, on SQLite or PostgreSQL."""
