"""The REST API: version 2 as Pulp 2 had it."""
