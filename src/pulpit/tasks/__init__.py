"""The queue, the worker processes that empty it, and the reports about both."""
