"""From a URL to bytes: which publication, which file, who may have it, which ranges."""
