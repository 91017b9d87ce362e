"""Pulpit's own API, one module for each resource that Pulp 2 does not have."""
