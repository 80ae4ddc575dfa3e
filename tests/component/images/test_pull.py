"""Pulls from a real registry into a real store."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from cellagent.images.messages import Credentials, Progress
from cellagent.images.service import ImageSettings, running
from cellwire.faults import Fault, Kind
from tests.support.oci import Node, folder, hardlink, layer, push_image, push_index, symlink
from tests.support.registry import PASSWORD, USER, running_registry

NOBODY = Credentials()


async def test_an_image_of_gzip_zstd_and_plain_layers_is_unpacked_and_found(tmp_path: Path) -> None:
    progress: list[Progress] = []
    async with running_registry() as registry, running(ImageSettings(root=tmp_path), progress.append) as room:
        pushed = await push_image(
            registry,
            "garden/beans:1",
            [
                layer({"etc": folder(0o750, 3, 4), "etc/hosts": b"hello", "bin/sh": Node(content=b"x", mode=0o4755)}),
                layer({"etc/hosts": b"changed", "link": symlink("/etc/hosts")}, "zstd"),
                layer({"plain": b"p" * 3_000_000, "hard": hardlink("plain")}, "none"),
            ],
            {"Cmd": ["/bin/sh"], "Env": ["A=b"], "User": "12:13"},
        )
        image = await room.puller.pull(pushed.name, NOBODY)
        assert image.id == pushed.id
        assert image.tags == (pushed.name,)
        assert image.digests == (f"{registry}/garden/beans@{pushed.digest}",)
        assert image.config.cmd == ("/bin/sh",)
        top, middle, bottom = image.layers
        assert (bottom / "etc/hosts").read_bytes() == b"hello"
        assert stat.S_IMODE((bottom / "bin/sh").stat().st_mode) == 0o4755
        assert (middle / "etc/hosts").read_bytes() == b"changed"
        assert (middle / "link").readlink() == Path("/etc/hosts")
        assert (top / "plain").stat().st_ino == (top / "hard").stat().st_ino
        # The second layer did not describe etc: it has what the first says.
        described = (middle / "etc").stat()
        assert (stat.S_IMODE(described.st_mode), described.st_uid, described.st_gid) == (0o750, 3, 4)
        for text in (pushed.name, image.digests[0], image.id, image.id[7:], image.id[7:19]):
            assert room.store.find(text) == image
        assert progress[-1].layers_done == progress[-1].layers_total == 3
        assert progress[-1].bytes_done == progress[-1].bytes_total == sum(len(one.blob) for one in pushed.layers)
    assert not os.listdir(tmp_path / "work")
