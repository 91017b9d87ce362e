"""A scratch folder is its worker's own while that one lives, and swept when it is dead."""

from pathlib import Path

from pulpit.repositories.storage import scratch_folder, sweep_scratch


def test_it_is_gone_when_the_work_is_done(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as room:
        (room / "file").touch()
        assert room.parent == tmp_path

    assert list(tmp_path.iterdir()) == []


def test_a_living_one_is_left_alone_and_a_dead_one_swept(tmp_path: Path) -> None:
    (tmp_path / "dead.work").mkdir()
    (tmp_path / "dead.work" / "file").touch()
    (tmp_path / "unfinished.part").touch()
    with scratch_folder(tmp_path) as room:
        assert sweep_scratch(tmp_path) == 1
        assert {path.name for path in tmp_path.iterdir()} == {room.name, "unfinished.part"}
        assert sweep_scratch(tmp_path) == 0
