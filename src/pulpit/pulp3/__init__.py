"""A Pulp 3 as a source of events: an outbox in its database, and the reader that takes rows from there into the log."""
