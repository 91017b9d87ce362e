"""Composition: what `serve`, `worker`, `broker` and `check` put together.

The only place that names concrete classes.
"""
