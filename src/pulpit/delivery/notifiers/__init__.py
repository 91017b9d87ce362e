"""One file per way out; sockets begin here."""
