"""pulp-admin: Pulp 2's command line, speaking REST API v2 and nothing else with the server."""
