"""Content types: one file each behind the port."""
