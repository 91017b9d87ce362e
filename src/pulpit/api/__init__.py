"""The REST API: version 2 is Pulp 2's, version 1 Pulpit's own."""
