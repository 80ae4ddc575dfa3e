"""The file knows how far the copy is, whoever kills whom between two writes."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.logs.copy import Copy

LOG = b"".join(b"line %d of the container's log\n" % n for n in range(60))

steps = st.lists(
    st.one_of(st.integers(1, 200), st.sampled_from(["kill", "rotate", "rotate unseen", "reopen unmoved"])), max_size=40
)


class Kubelet:
    """Moves the file away, as a kubelet rotating a log does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.moved: list[Path] = []

    def rotate(self) -> None:
        if self.path.exists() and self.path.stat().st_size:
            self.moved.append(self.path.with_name(f"{self.path.name}.{len(self.moved):03}"))
            self.path.rename(self.moved[-1])

    def everything(self) -> bytes:
        here = [self.path] if self.path.exists() else []
        return b"".join(file.read_bytes() for file in [*self.moved, *here])


@settings(deadline=None, max_examples=150)
@given(steps)
def test_every_byte_is_there_once_and_in_order(tmp_path_factory: object, plan: list[int | str]) -> None:
    folder = Path(tmp_path_factory.mktemp("log"))  # type: ignore[attr-defined]
    path = folder / "0[1]*.log"
    kubelet = Kubelet(path)
    copy = Copy(path, "c1")
    copy.open()
    for step in plan:
        match step:
            case int():
                copy.write(LOG[copy.offset : copy.offset + step])
            case "kill":
                copy.close()
                copy = Copy(path, "c1")
                copy.open()
            case "rotate":
                kubelet.rotate()
                copy.reopen()
                assert path.exists(), "a reader would find nothing"
            case "rotate unseen":  # while no controller runs
                copy.close()
                kubelet.rotate()
                copy = Copy(path, "c1")
                copy.open()
            case _:
                copy.reopen()
        assert LOG.startswith(kubelet.everything()[: copy.offset])
    copy.write(LOG[copy.offset :])
    copy.close()
    assert kubelet.everything() == LOG


def test_a_file_that_was_moved_away_gets_the_end_of_its_last_line(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    copy = Copy(path, "c1")
    copy.open()
    copy.write(b"one\ntw")
    path.rename(tmp_path / "0.log.old")
    copy.reopen()
    copy.write(b"o\nthree\n")
    assert (tmp_path / "0.log.old").read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"
    copy.close()


def copied(path: Path, container_id: str, data: bytes) -> None:
    copy = Copy(path, container_id)
    copy.open()
    assert copy.offset == 0
    copy.write(data)
    copy.close()


def test_a_container_with_the_log_path_of_another_has_its_own_log_from_the_first_byte(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    copied(path, "c1", b"of the first\n")
    copied(path, "c2", b"of the second\n")
    assert path.read_bytes() == b"of the first\nof the second\n"
    path.unlink()
    copied(path, "c3", b"of the third\n")
    assert path.read_bytes() == b"of the third\n"


def test_a_log_whose_file_was_removed_is_copied_anew(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(b"of somebody else\n")
    copied(path, "c1", b"lost\n")
    path.unlink()
    copied(path, "c1", b"lost\n")
    assert path.read_bytes() == b"lost\n"


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    copy = Copy(tmp_path / "0.log", "c1")
    copy.open()
    copy.write(b"half")
    for number in range(3):
        (tmp_path / "0.log").rename(tmp_path / f"0.log.{number}")
        copy.reopen()
    copy.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_is_being_synced_may_be_rotated_and_closed_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    copy = Copy(path, "c1")
    copy.open()
    copy.write(b"a line\n")
    with copy.syncing() as files:
        path.rename(tmp_path / "0.log.1")
        copy.reopen()
        copy.close()

        for file in files:
            os.fsync(file)

    assert (tmp_path / "0.log.1").read_bytes() == b"a line\n"


def synced(copy: Copy) -> set[int]:
    """The inodes that are synced for the copy to be durable."""
    with copy.syncing() as files:
        return {os.fstat(file).st_ino for file in files}


@pytest.mark.parametrize("killed", [False, True])
def test_what_a_kubelet_moved_away_is_made_durable_too(tmp_path: Path, *, killed: bool) -> None:
    path = tmp_path / "0.log"
    copy = Copy(path, "c1")
    copy.open()
    copy.write(b"one\n")
    path.rename(tmp_path / "0.log.1")
    copy.reopen()
    if killed:
        copy.close()
        copy = Copy(path, "c1")
        copy.open()
    assert copy.due.is_set()
    assert copy.durable == 0
    assert synced(copy) >= {file.stat().st_ino for file in tmp_path.iterdir()}
    assert copy.durable == 4
    assert (tmp_path / "0.log.1").stat().st_ino not in synced(copy)
    copy.close()


def test_a_line_stands_for_bytes_that_never_come_and_positions_go_on_after_them(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    copy = Copy(path, "c1")
    copy.open()
    copy.write(b"one\ntw")
    copy.skip(100, b"94 are missing\n")
    copy.close()  # killed

    copy = Copy(path, "c1")
    copy.open()
    assert copy.offset == 100
    copy.write(b"next\n")
    copy.close()
    assert path.read_bytes() == b"one\ntw\n94 are missing\nnext\n"
