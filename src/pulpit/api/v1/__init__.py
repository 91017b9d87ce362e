"""Pulpit's own API, one module for each resource: what Pulp 2 never had."""
