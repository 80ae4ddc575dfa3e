"""Several looks at once, each in a thread of its own, at paths that share folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellagent.kernel.slow_paths import SlowPaths
from cellwire.faults import Fault, Kind


async def test_folders_within_each_other_are_made_at_once(tmp_path: Path) -> None:
    looks = SlowPaths()
    for number in range(100):
        nested = [str(tmp_path / f"{number}" / Path(*"abcd"[:depth])) for depth in range(5)]
        places = await looks.places(dict.fromkeys(nested, "a mount"))
        assert places == {path: Path(path) for path in nested}
        assert all(place.is_dir() for place in places.values())


async def test_parts_of_a_volume_are_made_at_once_and_none_outside_of_it(tmp_path: Path) -> None:
    looks, volume = SlowPaths(), tmp_path / "volume"
    volume.mkdir()
    await looks.parts({(volume, "/".join("abcd"[:depth])): "a mount" for depth in range(1, 5)})
    assert (volume / "a/b/c/d").is_dir()
    (volume / "a/out").symlink_to("../..")
    with pytest.raises(Fault, match="a mount: subPath 'a/out/made' is outside of the volume") as raised:
        await looks.parts({(volume, "a/out/made"): "a mount"})
    # With this reason a container waits that a kubelet cannot make for such a subPath.
    assert (raised.value.kind, raised.value.reason) == (Kind.INVALID, "CreateContainerConfigError")
    assert list(tmp_path.iterdir()) == [volume]
