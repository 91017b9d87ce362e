"""One file for each kind of notifier; only these open sockets."""
