"""What is done to repositories: sync, publish, and the storage beneath both."""
