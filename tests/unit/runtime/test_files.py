"""Trees of files appear whole or not at all, and stay inside their folder."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from cellagent.runtime.file_trees import Tree, clear, read_end
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind


def entry(path: str, mode: int = stat.S_IFREG | 0o640, target: str = "") -> wire.FileEntry:
    return wire.FileEntry(path=path, mode=mode, uid=os.getuid(), gid=os.getgid(), target=target)


def writing(folder: Path) -> Tree:
    return Tree(str(folder), folder.parent.parent / "notes")


def put(folder: Path, files: dict[str, bytes]) -> None:
    tree = writing(folder)
    for path, content in files.items():
        tree.begin(entry(path))
        tree.data(content)
    tree.commit()
    tree.drop()


def test_a_tree_replaces_the_one_before_it_as_a_whole(tmp_path: Path) -> None:
    put(tmp_path / "vol", {"old": b"1", "both": b"1"})
    put(tmp_path / "vol", {"both": b"2"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "vol").iterdir()} == {"both": b"2"}
    assert [path.name for path in tmp_path.iterdir()] == ["vol"]


def generation(folder: Path, number: int, keys: dict[str, bytes]) -> list[Path]:
    """One generation of a volume, as a kubelet lays it out."""
    tree = writing(folder)
    tree.begin(entry(f"..{number}", stat.S_IFDIR | 0o755))
    for key, content in keys.items():
        tree.begin(entry(f"..{number}/{key}"))
        tree.data(content)
        tree.begin(entry(key, stat.S_IFLNK | 0o777, f"..data/{key}"))
    tree.begin(entry("..data", stat.S_IFLNK | 0o777, f"..{number}"))
    late = tree.commit()
    tree.drop()
    return late


def test_a_folder_that_is_mounted_stays_the_same_folder(tmp_path: Path) -> None:
    generation(tmp_path / "vol", 1, {"a": b"1", "b": b"1"})
    mounted = os.open(tmp_path / "vol", os.O_RDONLY)
    try:
        late = generation(tmp_path / "vol", 2, {"b": b"2", "c": b"2"})
        names = {one.name for one in Path(f"/proc/self/fd/{mounted}").iterdir()}
        assert names == {"..1", "..2", "..data", "b", "c"}
        assert Path(f"/proc/self/fd/{mounted}/b").read_bytes() == b"2"
    finally:
        os.close(mounted)
    assert late == [tmp_path / "vol" / "..1"]
    assert [path.name for path in tmp_path.iterdir()] == ["vol"]


def test_a_reader_never_misses_a_file_or_sees_a_part_of_one(tmp_path: Path) -> None:
    folder, ended, wrong = tmp_path / "vol", threading.Event(), list[str]()
    contents = {b"%d" % number * 5000 for number in range(1, 10)}
    generation(folder, 1, {"key": b"1" * 5000})

    def read() -> None:
        while not ended.is_set():
            try:
                if (found := (folder / "key").read_bytes()) not in contents:
                    wrong.append(f"{len(found)} bytes")
            except FileNotFoundError as error:
                wrong.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(200):
        # Old generations stay, as they do on a cell for as long as a reader may be on its way through them.
        generation(folder, 1000 + turn, {"key": b"%d" % (turn % 9 + 1) * 5000})
    ended.set()
    reader.join()
    assert wrong == []


def test_a_repeated_tree_changes_nothing(tmp_path: Path) -> None:
    generation(tmp_path / "vol", 1, {"a": b"1"})
    before = (tmp_path / "vol" / "a").stat()
    assert generation(tmp_path / "vol", 1, {"a": b"1"}) == []
    assert (tmp_path / "vol" / "a").stat().st_ino == before.st_ino


def test_nothing_is_visible_before_commit(tmp_path: Path) -> None:
    tree = writing(tmp_path / "vol")
    tree.begin(entry("a"))
    tree.data(b"x")
    assert not (tmp_path / "vol").exists()
    tree.drop()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_agent_left_of_a_tree_is_removed_and_nothing_else(tmp_path: Path) -> None:
    volumes, notes = tmp_path / "volumes", tmp_path / "notes"
    tree = Tree(str(volumes / "vol"), notes)
    tree.begin(entry("d", stat.S_IFDIR | 0o755))
    tree.begin(entry("d/a"))
    tree.data(b"x")
    del tree  # as with the process
    assert len(list(volumes.iterdir())) == 1
    (volumes / "mine").mkdir()
    notes.joinpath("0" * 12).write_text(str(volumes / "mine"))
    clear(notes)
    assert [path.name for path in volumes.iterdir()] == ["mine"]
    assert list(notes.iterdir()) == []


def test_a_tree_that_cannot_be_put_leaves_no_note_nor_one_that_names_what_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    notes = tmp_path / "notes"
    for folder in (tmp_path / "file" / "vol", tmp_path / ("n" * 300) / "vol"):
        with pytest.raises(Fault, match="folder"):
            Tree(str(folder), notes)
    assert list(notes.iterdir()) == []
    notes.joinpath("0" * 12).write_text(f"{tmp_path}/file/.vol.{'0' * 12}")
    notes.joinpath("1" * 12).write_bytes(b"\0\xff")
    clear(notes)
    assert list(notes.iterdir()) == []


def test_a_tree_that_was_put_leaves_no_note(tmp_path: Path) -> None:
    tree = Tree(str(tmp_path / "vol"), tmp_path / "notes")
    tree.begin(entry("a"))
    tree.commit()
    tree.drop()
    assert list((tmp_path / "notes").iterdir()) == []


def test_mode_links_and_folders_are_kept(tmp_path: Path) -> None:
    tree = writing(tmp_path / "vol")
    tree.begin(entry("..data", stat.S_IFDIR | 0o750))
    tree.begin(entry("..data/key", stat.S_IFREG | 0o400))
    tree.data(b"secret")
    tree.begin(entry("key", stat.S_IFLNK | 0o777, "..data/key"))
    tree.commit()
    assert (tmp_path / "vol" / "key").read_bytes() == b"secret"
    assert stat.S_IMODE((tmp_path / "vol/..data/key").stat().st_mode) == 0o400
    assert stat.S_IMODE((tmp_path / "vol/..data").stat().st_mode) == 0o750


@pytest.mark.parametrize("path", ["../out", "/etc/passwd", "", "a/../../out", "link/out"])
def test_no_entry_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    tree = writing(tmp_path / "vol")
    tree.begin(entry("link", stat.S_IFLNK | 0o777, str(tmp_path)))
    with pytest.raises(Fault) as caught:
        tree.begin(entry(path))
    assert caught.value.kind is Kind.INVALID
    tree.drop()
    assert list(tmp_path.iterdir()) == []


def test_devices_are_refused(tmp_path: Path) -> None:
    tree = writing(tmp_path / "vol")
    with pytest.raises(Fault):
        tree.begin(entry("tty", stat.S_IFCHR | 0o666))
    tree.drop()


def test_the_end_of_a_file_is_read_and_a_missing_one_is_empty(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"0123456789")
    assert read_end(str(tmp_path / "log"), 4) == b"6789"
    assert read_end(str(tmp_path / "log"), 100) == b"0123456789"
    assert read_end(str(tmp_path / "none"), 4) == b""
