"""Whom a container runs as."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from cellagent.runtime.spec import users
from cellwire.faults import Fault


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    people = "root:x:0:0:r:/root:/bin/sh\nweb:x:101:102:w:/var/www:/bin/false\nbroken\nodd:x:٣:٣::/:\n"
    (tmp_path / "etc/passwd").write_text(people)
    (tmp_path / "etc/group").write_text(
        "root:x:0:\nweb:x:102:\nlogs:x:7:web,other\nstaff:x:50:\nbad:x:y:web\nodd:x:٣:web\n"
    )
    return tmp_path


def test_a_name_brings_its_numbers_groups_and_home(rootfs: Path) -> None:
    assert users.resolve(rootfs, "web") == users.User(uid=101, gid=102, groups=(7,), home="/var/www")


def test_a_number_known_to_the_image_counts_as_its_name(rootfs: Path) -> None:
    assert users.resolve(rootfs, "101") == users.resolve(rootfs, "web")


def test_a_number_unknown_to_the_image_has_no_groups(rootfs: Path) -> None:
    assert users.resolve(rootfs, "4242") == users.User(uid=4242, gid=0, groups=(), home="/")


def test_nobody_named_is_root(rootfs: Path) -> None:
    assert users.resolve(rootfs, "") == users.User(uid=0, gid=0, groups=(), home="/root")


def test_a_group_may_be_named_or_numbered_and_be_overridden(rootfs: Path) -> None:
    assert users.resolve(rootfs, "web:staff").gid == 50
    assert users.resolve(rootfs, "web:9").gid == 9
    assert users.resolve(rootfs, "web", gid=3).gid == 3


@pytest.mark.parametrize("who", ["nobody", "web:nogroup", "٣", "web:٣", "²"])
def test_names_of_nobody_are_refused(rootfs: Path, who: str) -> None:
    with pytest.raises(Fault, match="does not know"):
        users.resolve(rootfs, who)


def test_an_image_cannot_point_out_of_itself(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/passwd").write_text("evil:x:0:0::/:\n")
    root = tmp_path / "root"
    root.mkdir()
    (root / "etc").symlink_to(tmp_path / "outside")
    with pytest.raises(Fault):
        users.resolve(root, "evil")


@pytest.mark.parametrize("who", ["-1", "4294967295", "99999999999"])
def test_numbers_that_no_kernel_takes_are_refused(rootfs: Path, who: str) -> None:
    with pytest.raises(Fault):
        users.resolve(rootfs, who)


def test_however_many_lines_a_file_of_the_image_has_they_take_little_more_memory_than_it(rootfs: Path) -> None:
    (rootfs / "etc/passwd").write_bytes(b"\n" * (1 << 16) + b"a:x:1\n" * (1 << 12) + b"last:x:7:8::/home\n")
    tracemalloc.start()
    try:
        assert users.resolve(rootfs, "last").gid == 8
        assert users.resolve(rootfs, "7").home == "/home"
        assert tracemalloc.get_traced_memory()[1] < users.LARGEST + (1 << 20)
    finally:
        tracemalloc.stop()
