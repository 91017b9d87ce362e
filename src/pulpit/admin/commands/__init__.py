"""The sections of the command line, one module each."""
