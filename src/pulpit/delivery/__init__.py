"""From the event log to the far side: a cursor for every listener, and the notifiers that carry events out."""
