"""Indexes of Python packages: Pulp 2's Python plug-in, extended with wheels, PEP 691 and newer standards."""
