"""The exchange kinds, one file each."""
