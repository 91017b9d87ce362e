"""The `pulpit` command: one thin file a command."""
