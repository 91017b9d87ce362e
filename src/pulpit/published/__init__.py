"""From a URL to bytes: which publication, which file, access, ranges."""
