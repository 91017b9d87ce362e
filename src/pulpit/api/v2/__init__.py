"""One module per resource of Pulp 2's REST API."""
