"""The `pulpit` command: one thin file per command."""
