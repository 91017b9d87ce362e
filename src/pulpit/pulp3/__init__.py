"""A Pulp 3 as a source of events: an outbox in its database, and the reader that moves rows from there to the log."""
