"""What a container has written and removed, and what criu says of a failure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cellagent.runtime.checkpoint import changes, last_error
from hostkit import files


def test_the_first_error_of_a_log_is_what_the_others_follow_from() -> None:
    log = (
        "(00.1) Running pre-dump scripts\n"
        "(00.2) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.\n"
        "(00.3) Error (criu/cr-dump.c:2093): Dumping FAILED.\n"
    )
    assert last_error(log) == "criu: inet: Connected TCP socket, consider using --tcp-established option."
    assert last_error("all is well\n") == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="an overlay's marks are root's")
def test_the_writable_layer_tells_what_was_written_and_what_was_removed(tmp_path: Path) -> None:
    upper, layer = tmp_path / "upper", tmp_path / "layer"
    for path in ("etc/network/old", "etc/network/both", "etc/passwd"):
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        (layer / path).touch()
    (upper / "etc/network").mkdir(parents=True)
    (upper / "etc/network/both").touch()
    (upper / "link").symlink_to("nowhere")
    os.mknod(upper / "etc/passwd", 0o020000, 0)
    os.setxattr(upper / "etc/network", "trusted.overlay.opaque", b"y")
    written, removed = changes(upper, [layer])
    assert sorted(written) == ["etc", "etc/network", "etc/network/both", "link"]
    assert removed == ["/etc/network/old", "/etc/passwd"]


def test_a_writable_layer_of_a_thousand_folders_in_folders_is_told_whole(tmp_path: Path) -> None:
    upper = here = tmp_path / "upper"
    upper.mkdir()
    for _ in range(1200):
        here = here / "d"
        here.mkdir()
    written, _ = changes(upper, [])
    assert len(written) == 1200
    assert written[-1] == str(here.relative_to(upper))
    files.remove_tree(upper)


def test_a_writable_layer_that_is_deeper_than_paths_are_long_is_refused(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    with pytest.raises(OSError, match="File name too long"):
        changes(tmp_path, [])
    files.remove_tree(tmp_path)
