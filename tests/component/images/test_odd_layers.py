"""Layers whose values no system knows, and that replace what they have written themselves."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from tests.component.images.test_hostile_layers import unpacked
from tests.support.oci import LayerEntry, folder, layer


@pytest.mark.parametrize(
    "entry",
    [
        LayerEntry(uid=1 << 40),
        LayerEntry(kind=tarfile.DIRTYPE, gid=1 << 32),
        LayerEntry(xattrs={"user.a\0b": "x"}),
    ],
)
async def test_values_that_no_system_knows_are_told_with_the_entry(tmp_path: Path, entry: LayerEntry) -> None:
    with pytest.raises(Fault) as raised:
        await unpacked(tmp_path / "layer", layer([("odd", entry)]))
    assert raised.value.kind is Kind.BROKEN
    assert "'odd' cannot be unpacked" in raised.value.cause


async def test_what_was_below_a_folder_is_forgotten_when_that_is_replaced(tmp_path: Path) -> None:
    entries = [
        ("d", folder(0o700)),
        ("d/e", folder(0o700, uid=7)),
        ("d/e/f", folder(0o700)),
        ("d", b"a file"),
        ("d", folder(0o750)),
        ("d/e/f/g", b"anew"),
    ]
    done = await unpacked(tmp_path / "layer", layer(entries))
    assert done.implicit == [b"d/e", b"d/e/f"]
    seen = [(tmp_path / "layer" / name).stat() for name in ("d", "d/e", "d/e/f")]
    assert [(stat.S_IMODE(one.st_mode), one.st_uid) for one in seen] == [(0o750, 0), (0o755, 0), (0o755, 0)]
