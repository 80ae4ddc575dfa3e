"""What the doctor makes of a machine's files."""

from __future__ import annotations

from controller.cli.doctor import overlay

LOADED = "nodev\ttmpfs\n\text4\nnodev\toverlay\n"
DEPENDENCIES = "kernel/net/8021q/8021q.ko.xz: kernel/net/802/mrp.ko.xz\nkernel/fs/overlayfs/overlay.ko.xz:\n"


def test_overlayfs_is_there_when_it_is_loaded_and_when_the_kernel_will_load_it() -> None:
    assert overlay(LOADED, "")[0] == "ok"
    assert overlay("\text4\n", DEPENDENCIES) == ("ok", "overlayfs", "a module, which the first mount loads")
    assert overlay("\text4\n", "kernel/fs/ext2/ext2.ko.xz:\n")[0] == "lacks"
