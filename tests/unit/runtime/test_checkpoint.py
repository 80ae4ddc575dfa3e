"""What a container has written and removed, and what criu says of a failure."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from cellagent.kernel import inside
from cellagent.runtime.checkpoint import changes, last_error, pack_changes
from cellwire.faults import Fault
from hostkit import files, programs

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="an overlay's marks are root's")


async def packed(folder: Path, upper: Path, *layers: Path) -> tuple[list[str], list[str]]:
    """The names in the archive, and what was removed."""
    removed = await pack_changes("checkpoint", folder, upper, layers)
    with tarfile.open(folder / "rootfs-diff.tar") as archive:
        return sorted(archive.getnames()), removed


def whiteout(path: Path) -> None:
    os.mknod(path, 0o020000, 0)


def test_the_first_error_of_a_log_is_what_the_others_follow_from() -> None:
    log = (
        "(00.1) Running pre-dump scripts\n"
        "(00.2) Error (criu/sk-inet.c:191): inet: Connected TCP socket, consider using --tcp-established option.\n"
        "(00.3) Error (criu/cr-dump.c:2093): Dumping FAILED.\n"
    )
    assert last_error(log) == "criu: inet: Connected TCP socket, consider using --tcp-established option."
    assert last_error("all is well\n") == ""


@ROOT
async def test_the_writable_layer_tells_what_was_written_and_what_was_removed(tmp_path: Path) -> None:
    upper, layer = tmp_path / "upper", tmp_path / "layer"
    for path in ("etc/network/old", "etc/network/both", "etc/passwd"):
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        (layer / path).touch()
    (upper / "etc/network").mkdir(parents=True)
    (upper / "etc/network/both").touch()
    (upper / "link").symlink_to("nowhere")
    whiteout(upper / "etc/passwd")
    os.setxattr(upper / "etc/network", "trusted.overlay.opaque", b"y")
    written, removed = await packed(tmp_path, upper, layer)
    assert written == ["etc", "etc/network", "etc/network/both", "link"]
    assert removed == ["/etc/network/old", "/etc/passwd"]


@ROOT
async def test_what_a_folder_that_was_made_anew_hides_is_told_of_the_folders_below_it_too(tmp_path: Path) -> None:
    upper, layer = tmp_path / "upper", tmp_path / "layer"
    for path in ("d/old", "d/sub/x", "d/sub/kept"):
        (layer / path).parent.mkdir(parents=True, exist_ok=True)
        (layer / path).touch()
    (upper / "d/sub").mkdir(parents=True)
    (upper / "d/sub/kept").touch()
    os.setxattr(upper / "d", "trusted.overlay.opaque", b"y")
    _, removed = await packed(tmp_path, upper, layer)
    assert removed == ["/d/old", "/d/sub/x"]


async def test_a_writable_layer_of_a_thousand_folders_in_folders_is_told_whole(tmp_path: Path) -> None:
    upper = here = tmp_path / "upper"
    upper.mkdir()
    for _ in range(1200):
        here = here / "d"
        here.mkdir()
    written, _ = await packed(tmp_path, upper)
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


@ROOT
async def test_what_was_removed_is_told_and_not_packed_whatever_its_name(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "d").mkdir(parents=True)
    names = ["a b", "end ", "end\t", "star*", "[x]", "back\\slash", "line\nline", "-dash", "q?", "]", "\udcff"]
    for name in names:
        whiteout(upper / "d" / name)
    kept = ["axb", "end", "starry", "x", "back", "line_line", "qq", "dash"]
    for name in kept:
        (upper / "d" / name).touch()
    written, removed = await packed(tmp_path, upper)
    assert written == sorted(["d", *(f"d/{name}" for name in kept)])
    assert removed == sorted(f"/d/{name}" for name in names)


@ROOT
def test_a_link_of_a_layer_is_not_followed_to_what_this_machine_has_there(tmp_path: Path) -> None:
    upper, layer, outside = tmp_path / "upper", tmp_path / "layer", tmp_path / "outside"
    for folder in (upper / "data", layer, outside):
        folder.mkdir(parents=True)
    (outside / "key").touch()
    (layer / "data").symlink_to(outside)
    os.setxattr(upper / "data", "trusted.overlay.opaque", b"y")
    assert changes(upper, [layer]).hidden == []


def in_place_of(folder: Path, outside: Path) -> None:
    """What a process of the container does in an instant of its choice."""
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(outside)


@ROOT
def test_a_link_put_in_a_folder_s_place_does_not_lead_out_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper, outside = tmp_path / "upper", tmp_path / "outside"
    for folder in (upper / "a", upper / "b", outside):
        folder.mkdir(parents=True)
    whiteout(outside / "key")
    opened = inside.opened

    def open_later(root: Path, path: str, *how: Any, **more: Any) -> int:
        if path == "b/":
            in_place_of(upper / "a", outside)
        return opened(root, path, *how, **more)

    monkeypatch.setattr(inside, "opened", open_later)
    assert changes(upper, []) == (["a", "b"], [], [])


async def test_a_link_put_in_a_folder_s_place_is_packed_as_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper, outside = tmp_path / "upper", tmp_path / "outside"
    for folder in (upper / "a", outside):
        folder.mkdir(parents=True)
        (folder / "key").touch()
    run = programs.run

    async def run_later(argv: list[str], **how: Any) -> programs.Completed:
        in_place_of(upper / "a", outside)
        return await run(argv, **how)

    monkeypatch.setattr(programs, "run", run_later)
    written, _ = await packed(tmp_path, upper)
    assert written == ["a"]


async def test_a_name_that_is_gone_before_it_is_packed_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    for name in ("kept", "state.tmp", "odd: name\nof two lines"):
        (upper / name).touch()
    run = programs.run

    async def run_later(argv: list[str], **how: Any) -> programs.Completed:
        for gone in (upper / "state.tmp", upper / "odd: name\nof two lines"):
            gone.unlink(missing_ok=True)
        return await run(argv, **how)

    monkeypatch.setattr(programs, "run", run_later)
    written, _ = await packed(tmp_path, upper)
    assert written == ["kept"]


async def test_an_archive_that_cannot_be_written_is_told_though_a_name_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upper = tmp_path / "upper"
    upper.mkdir()
    (upper / "state.tmp").touch()
    (upper / "kept").write_bytes(os.urandom(1 << 20))
    run = programs.run

    async def run_later(argv: list[str], **how: Any) -> programs.Completed:
        (upper / "state.tmp").unlink(missing_ok=True)
        full = [word.replace(str(tmp_path / "rootfs-diff.tar"), "/dev/full") for word in argv]
        return await run(full, **how)

    monkeypatch.setattr(programs, "run", run_later)
    with pytest.raises(Fault, match="No space left on device"):
        await pack_changes("checkpoint", tmp_path, upper, [])


def test_what_is_gone_before_it_is_looked_at_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "kept").touch()
    listed = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: [*listed(folder), "gone"])  # type: ignore[arg-type]
    assert changes(tmp_path, []).first == ["kept"]
