"""Composition: what `serve`, `worker`, `broker` and `check` put together; only here concrete classes are named."""
