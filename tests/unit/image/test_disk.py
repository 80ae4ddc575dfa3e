"""A disk of a cell, as values: where its parts lie, and what is patched into its first sectors."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault
from images import contents, disk, initrd

DEPENDENCIES = "kernel/a.ko.xz: kernel/b.ko.xz kernel/c.ko\nkernel/b.ko.xz: kernel/c.ko\nkernel/c.ko:\n"


@given(st.integers(1, 1 << 33), st.integers(1, 1 << 14))
def test_partitions_follow_one_another_and_the_root_which_grows_is_the_last(usr: int, root: int) -> None:
    parts = disk.layout("amd64", usr, root)
    for before, after in itertools.pairwise(parts):
        assert before.start + before.size == after.start
    assert parts[-1].name == "cell-root"
    assert parts[2].size * disk.MIB >= usr


def test_what_the_first_stage_and_the_file_table_look_for_is_what_the_partitions_are_called() -> None:
    names = {part.name for part in disk.layout("amd64", 1, 1)}
    (table,) = (file.text for file in contents.FILES if file.path == "etc/fstab")
    assert {word.partition("=")[2] for word in table.split() if word.startswith("PARTLABEL=")} <= names
    assert {"cell-usr", "cell-root"} <= names


def test_identifiers_are_equal_in_every_bake_and_differ_among_partitions() -> None:
    parts = disk.layout("amd64", 1, 1)
    assert parts == disk.layout("amd64", 1, 1)
    assert len({part.id for part in parts}) == len(parts)


def test_the_first_sector_leads_to_the_core_and_leaves_the_table_alone() -> None:
    code = bytes(range(256)) * 2
    patched = disk.boot_sector(code, 2048)
    assert len(patched) == 440
    assert struct.unpack_from("<Q", patched, 0x5C) == (2048,)
    assert patched[:0x5C] == code[:0x5C]


@given(st.integers(1, 300_000))
def test_the_core_says_how_many_sectors_of_it_follow_its_first(length: int) -> None:
    made = disk.core_image(bytes(disk.SECTOR) + b"x" * length, 2048)
    start, sectors, _ = struct.unpack_from("<QHH", made, disk.SECTOR - 12)
    assert start == 2049
    assert sectors * disk.SECTOR == len(made) - disk.SECTOR
    assert 0 <= len(made) - disk.SECTOR - length < disk.SECTOR


def test_a_module_comes_after_all_that_it_needs() -> None:
    assert initrd.in_order(["a"], DEPENDENCIES, "") == ("kernel/c.ko", "kernel/b.ko.xz", "kernel/a.ko.xz")


def test_a_module_that_the_kernel_has_inside_is_not_loaded() -> None:
    assert initrd.in_order(["nvme-core", "c"], DEPENDENCIES, "kernel/nvme_core.ko\n") == ("kernel/c.ko",)


def test_a_module_that_the_kernel_lacks_is_named() -> None:
    with pytest.raises(Fault, match="module ext5"):
        initrd.in_order(["ext5"], DEPENDENCIES, "")


@given(st.lists(st.tuples(st.text("abc/", min_size=1, max_size=20), st.binary(max_size=50)), max_size=5))
def test_each_member_of_the_first_stage_begins_at_four_bytes_and_is_whole(members: list[tuple[str, bytes]]) -> None:
    packed = initrd.archive([initrd.CpioEntry(name, 0o100644, data) for name, data in members], 7)
    found: list[tuple[str, bytes]] = []
    at = 0
    while True:
        assert packed[at : at + 6] == b"070701"
        fields = [int(packed[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = packed[at + 110 : at + 110 + fields[11] - 1].decode()
        begins = at + 110 + fields[11] + -(110 + fields[11]) % 4
        if name == "TRAILER!!!":
            break
        assert fields[5] == 7
        found.append((name, packed[begins : begins + fields[6]]))
        at = begins + fields[6] + -fields[6] % 4
    assert found == members
