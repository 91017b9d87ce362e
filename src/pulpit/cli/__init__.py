"""The `pulpit` command; its subcommands are thin, and imported when they are called."""
