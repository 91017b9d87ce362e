"""Files, each kept once under its SHA-256: a port, its adapters, and scratch on this machine."""
