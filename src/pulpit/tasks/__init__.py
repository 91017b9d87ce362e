"""The task queue, the worker processes that run it, and the reports about both."""
