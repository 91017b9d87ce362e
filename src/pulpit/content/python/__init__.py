"""Indexes of Python packages: what Pulp 2's Python plug-in did, with wheels, PEP 691 and the rest of today."""
