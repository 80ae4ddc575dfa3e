"""Looks at folders cost little, whoever asks how often."""

from __future__ import annotations

from pathlib import Path

from cellagent.runtime.stats.folder_sizes import FRESH, SPARED, FolderSizes


async def test_what_was_seen_is_told_again_for_a_while_and_longer_after_a_long_look(tmp_path: Path) -> None:
    now = 100.0

    def clock() -> float:
        nonlocal now
        now += 1.0  # each look takes so long
        return now

    held = FolderSizes(clock)
    (tmp_path / "a").write_bytes(bytes(8192))
    first = await held.of(str(tmp_path))
    assert first >= 8192
    (tmp_path / "b").write_bytes(bytes(1 << 20))
    now += FRESH
    assert await held.of(str(tmp_path)) == first
    now += SPARED
    assert await held.of(str(tmp_path)) >= first + (1 << 20)


async def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert await FolderSizes(lambda: 0.0).of(str(tmp_path / "absent")) == 0
