from __future__ import annotations

from pathlib import Path

import pytest

from hostkit import mountinfo

MOUNTS = mountinfo.parsed(
    "1 0 8:1 / / rw shared:1 - ext4 /dev/sda rw\n"
    "2 1 0:5 / /run rw - tmpfs tmpfs rw,size=2048k\n"
    "3 2 0:6 / /run/a\\040b rw master:3 - tmpfs tmpfs rw\n"
    "4 3 0:7 / /run/a\\040b/deep rw shared:9 - tmpfs tmpfs rw\n"
    "5 2 0:8 / /run/abc\\134040 rw - tmpfs tmpfs rw\n"
)


def test_mounts_below_a_folder_are_told_deepest_first() -> None:
    assert mountinfo.below(Path("/run/a b"), MOUNTS) == [Path("/run/a b/deep"), Path("/run/a b")]
    assert mountinfo.below(Path("/run/a"), MOUNTS) == []


def test_a_name_that_holds_what_looks_like_an_escape_is_read_as_it_is() -> None:
    assert mountinfo.below(Path("/run/abc\\040"), MOUNTS) == [Path("/run/abc\\040")]


def test_a_name_with_what_python_takes_for_the_end_of_a_line_is_one_mount() -> None:
    forged = "9 1 0:9 / /run/x\u20288 1 0:8 / /victim rw - tmpfs tmpfs rw - tmpfs tmpfs rw\n"
    assert mountinfo.at("/victim", mountinfo.parsed(forged)) is None


@pytest.mark.parametrize(
    ("path", "word"),
    [("/home", "shared"), ("/run/x", "private"), ("/run/a b/c", "slave"), ("/run/a b/deep/er", "shared")],
)
def test_propagation_is_that_of_the_mount_which_holds_the_path(path: str, word: str) -> None:
    assert mountinfo.propagation(Path(path), MOUNTS) == word


def test_the_size_of_a_file_system_in_memory_is_among_its_options() -> None:
    assert [mountinfo.size(mount) for mount in MOUNTS[:2]] == [0, 2 << 20]
