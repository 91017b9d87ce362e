"""The web page: shows and does what the REST API does, for browsers."""
