"""Valid bytes with a few changes, for fuzz tests."""

from hypothesis import strategies as st


def spoiled(*seeds: bytes) -> st.SearchStrategy[bytes]:
    """One of the seeds with a few places changed, or anything."""
    return st.one_of(st.binary(max_size=200), *(_changed(seed) for seed in seeds))


def _changed(seed: bytes) -> st.SearchStrategy[bytes]:
    change = st.tuples(st.integers(0, len(seed)), st.integers(0, 20), st.binary(max_size=20))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        data = seed
        for place, gone, new in changes:
            data = data[:place] + new + data[place + gone :]
        return data

    return st.lists(change, min_size=1, max_size=4).map(apply)
