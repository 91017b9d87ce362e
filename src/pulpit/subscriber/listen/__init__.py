"""The subscriber: prints the messages that a topic exchange passes on (Pulp 2's `playpen/listen.py`, grown up)."""

from pulpit.subscriber.listen.console import command, main

__all__ = ["command", "main"]
