"""Content-addressed files: a port, its adapters, and scratch space on this machine."""
