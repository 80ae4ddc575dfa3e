"""Several looks at once, each in a thread of its own, at paths that share folders."""

from __future__ import annotations

from pathlib import Path

from cellagent.kernel.slow_paths import SlowPaths


async def test_folders_within_each_other_are_made_at_once(tmp_path: Path) -> None:
    looks = SlowPaths()
    for number in range(100):
        nested = [str(tmp_path / f"{number}" / Path(*"abcd"[:depth])) for depth in range(5)]
        places = await looks.places(dict.fromkeys(nested, "a mount"))
        assert places == {path: Path(path) for path in nested}
        assert all(place.is_dir() for place in places.values())
