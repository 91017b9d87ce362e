"""pulp-admin: Pulp 2's command line; it talks to the server through REST API v2 and v1 only."""
