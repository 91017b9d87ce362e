"""Who writes changes down, in tests that put units into repositories by themselves."""

from pulpit.store.changes import Description, Recorder

NOBODY = Recorder(task_id=None, describe=lambda type_id, _key, _metadata: Description(name=type_id))
