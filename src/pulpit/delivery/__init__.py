"""From the event log to the receivers: one cursor per listener, and the notifiers that send events."""
