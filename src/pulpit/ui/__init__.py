"""The page: what the REST API shows and does, for people with a browser."""
