"""Pulls from a real registry into a real store."""

from __future__ import annotations

import base64
import os
import re
import stat
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from cellagent.images.messages import Credentials, PullDelayed, PullProgress, RegistrySettings
from cellagent.images.room import ImageSettings, running
from cellwire.faults import Kind
from tests.support.deaf import deaf
from tests.support.files import names
from tests.support.oci import (
    ARCHITECTURE,
    OCI_INDEX,
    OCI_MANIFEST,
    Layer,
    LayerEntry,
    digest,
    folder,
    hardlink,
    layer,
    push_image,
    push_index,
    symlink,
)
from tests.support.pulls import NOBODY, failure, flaky_registry
from tests.support.registry import PASSWORD, USER, free_port, running_registry


async def test_an_image_of_gzip_zstd_and_plain_layers_is_unpacked_and_found(tmp_path: Path) -> None:
    said: list[PullProgress | PullDelayed] = []
    async with running_registry() as registry, running(ImageSettings(root=tmp_path), said.append) as room:
        pushed = await push_image(
            registry,
            "garden/beans:1",
            [
                layer(
                    {"etc": folder(0o750, 3, 4), "etc/hosts": b"hello", "bin/sh": LayerEntry(content=b"x", mode=0o4755)}
                ),
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
        progress = [one for one in said if isinstance(one, PullProgress)]
        assert progress[-1].layers_done == progress[-1].layers_total == 3
        assert progress[-1].bytes_done == progress[-1].bytes_total == sum(len(one.blob) for one in pushed.layers)
    assert not names(tmp_path / "work")


@pytest.mark.parametrize("auth", ["basic", "token"])
async def test_a_registry_lets_in_who_shows_the_right_credentials(
    tmp_path: Path, auth: Literal["basic", "token"]
) -> None:
    async with running_registry(auth) as registry, running(ImageSettings(root=tmp_path)) as room:
        pushed = await push_image(registry, "private/a:1", [layer({"a": b"1"})], auth=auth)
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        for refused in (
            NOBODY,
            Credentials(username=USER, password="wrong"),
            Credentials(username=USER, password=PASSWORD, server_address="https://elsewhere.example"),
        ):
            fault = await failure(room, pushed.name, refused)
            assert fault.kind is Kind.DENIED, fault
            assert "imagePullSecret" in str(fault)
            assert "wrong" not in str(fault)
        accepted = [
            Credentials(username=USER, password=PASSWORD),
            Credentials(auth=pair),
            Credentials(auth=pair, server_address=f"http://{registry}/v2/"),
        ]
        if auth == "token":
            accepted.append(Credentials(identity_token="identity-of-gardener"))
        for credentials in accepted:
            assert (await room.puller.pull(pushed.name, credentials)).id == pushed.id
            room.store.remove(pushed.name)


async def test_what_goes_wrong_is_told_in_a_sentence(tmp_path: Path) -> None:
    async with running_registry() as registry, running(ImageSettings(root=tmp_path)) as room:
        one = layer({"a": b"1"})
        pushed = await push_image(registry, "a:1", [one])
        fault = await failure(room, f"{registry}/nothing:1")
        assert (fault.kind, "has no such image" in str(fault)) == (Kind.NOT_FOUND, True)
        fault = await failure(room, f"127.0.0.1:{free_port()}/a:1")
        assert (fault.kind, "cannot be reached" in str(fault)) == (Kind.UNAVAILABLE, True)
        foreign = await push_image(registry, "foreign:1", [one], architecture="s390x")
        fault = await failure(room, foreign.name)
        assert (fault.kind, "linux/s390x" in str(fault)) == (Kind.NOT_FOUND, True)
        lying = await push_image(registry, "lying:1", [Layer(one.blob, digest(b"other"), one.media_type)])
        fault = await failure(room, lying.name)
        assert (fault.kind, "digest mismatch" in str(fault)) == (Kind.BROKEN, True)
        assert one.digest in str(fault)
        fault = await failure(room, pushed.name + "@" + digest(b"no"))
        assert fault.kind is Kind.NOT_FOUND
        assert not room.store.images()
        assert (await room.puller.pull(f"{pushed.name}@{pushed.digest}", NOBODY)).tags == ()


async def test_the_image_of_this_platform_is_taken_from_an_index(tmp_path: Path) -> None:
    async with running_registry() as registry, running(ImageSettings(root=tmp_path)) as room:
        mine = await push_image(registry, "many:mine", [layer({"a": b"mine"})])
        other = await push_image(registry, "many:other", [layer({"a": b"other"})], architecture="s390x")
        top = await push_index(registry, "many:1", {"linux/s390x": other, f"linux/{ARCHITECTURE}": mine})
        image = await room.puller.pull(f"{registry}/many:1", NOBODY)
        assert image.id == mine.id
        assert image.digests == (f"{registry}/many@{top}",)
        again = await room.puller.pull(f"{registry}/many@{top}", NOBODY)
        assert again == image


async def test_a_removed_name_that_no_layer_below_has_leaves_no_trace(tmp_path: Path) -> None:
    async with running_registry() as registry, running(ImageSettings(root=tmp_path)) as room:
        below = layer({"d": folder(), "d/there": b"1", "d/twice": b"1", "d/behind": folder(), "d/behind/x": b"1"})
        middle = layer({"d/.wh.twice": b"", "fresh": folder(), "fresh/a": b"1", "d/behind/.wh..wh..opq": b""})
        top = layer(
            {
                "d/.wh.there": b"",
                "d/.wh.twice": b"",
                "d/.wh.never": b"",
                "d/behind/.wh.x": b"",
                "fresh/.wh.b": b"",
                "own": folder(),
                "own/.wh.c": b"",
                "own/.wh..wh..opq": b"",
                ".wh.nothing": b"",
                "gone/.wh.x": b"",
            }
        )
        pushed = await push_image(registry, "a:1", [below, middle, top])
        image = await room.puller.pull(pushed.name, NOBODY)
        found = {str(path.relative_to(image.layers[0])) for path in image.layers[0].rglob("*")}
        assert found == {"d", "d/there", "d/behind", "fresh", "own", "gone"}
        assert (image.layers[0] / "d/there").is_char_device()
        assert (image.layers[1] / "d/twice").is_char_device()


async def test_a_hundred_small_layers_come_whole_and_in_order(tmp_path: Path) -> None:
    async with running_registry() as registry, running(ImageSettings(root=tmp_path)) as room:
        many = [layer({"same": str(number).encode(), f"own-{number}": b"1"}) for number in range(100)]
        pushed = await push_image(registry, "many:1", many)
        image = await room.puller.pull(pushed.name, NOBODY)
        assert [(folder / "same").read_text() for folder in reversed(image.layers)] == [str(n) for n in range(100)]


async def nested(registry: str, name: str, below: str) -> str:
    """An index that holds another, which names no platform; its digest."""
    entry = {"mediaType": OCI_INDEX, "digest": below, "size": 100}
    attestation = {**entry, "digest": below, "platform": {"os": "unknown", "architecture": "unknown"}}
    return await push_index(registry, name, {}, attestation, entry)


async def test_an_index_of_indexes_is_followed_and_not_without_end(tmp_path: Path) -> None:
    async with running_registry() as registry, running(ImageSettings(root=tmp_path)) as room:
        mine = await push_image(registry, "many:mine", [layer({"a": b"mine"})])
        other = await push_image(registry, "many:other", [layer({"a": b"other"})], architecture="s390x")
        flat = await push_index(registry, "many:flat", {"linux/s390x": other, f"linux/{ARCHITECTURE}": mine})
        top = await nested(registry, "many:nested", flat)
        image = await room.puller.pull(f"{registry}/many:nested", NOBODY)
        assert (image.id, image.digests) == (mine.id, (f"{registry}/many@{top}",))
        for number in range(4):
            top = await nested(registry, f"many:deep{number}", top)
        fault = await failure(room, f"{registry}/many:deep3")
        assert (fault.kind, "without end" in str(fault)) == (Kind.UNSUPPORTED, True)
        # What names no platform is taken if its own configuration says that it runs here.
        await push_index(registry, "many:silent", {"": other})
        fault = await failure(room, f"{registry}/many:silent")
        assert (fault.kind, "it is for linux/s390x" in str(fault)) == (Kind.NOT_FOUND, True)
        silent = {"mediaType": OCI_MANIFEST, "digest": mine.digest, "size": len(mine.manifest), "platform": None}
        await push_index(registry, "many:both", {"": other}, silent)
        assert (await room.puller.pull(f"{registry}/many:both", NOBODY)).id == mine.id


async def test_who_named_a_platform_or_a_digest_is_trusted(tmp_path: Path) -> None:
    async with running_registry() as registry, running(ImageSettings(root=tmp_path)) as room:
        odd = await push_image(registry, "odd:1", [layer({"a": b"odd"})], architecture="s390x")
        fault = await failure(room, odd.name)
        assert (fault.kind, "linux/s390x" in str(fault)) == (Kind.NOT_FOUND, True)
        await push_index(registry, "odd:index", {f"linux/{ARCHITECTURE.upper()}": odd})
        assert (await room.puller.pull(f"{registry}/odd:index", NOBODY)).id == odd.id
        room.store.remove(odd.id)
        assert (await room.puller.pull(f"{registry}/odd@{odd.digest}", NOBODY)).id == odd.id


async def test_an_address_that_takes_no_connection_is_told_within_seconds(tmp_path: Path) -> None:
    with deaf() as host:
        async with running(ImageSettings(root=tmp_path)) as room:
            fault = await failure(room, f"{host}/a:1")
    assert fault.kind is Kind.UNAVAILABLE
    assert re.search(r"cannot be reached \(no connection within [23]\.\d s\)", str(fault)), str(fault)
    assert "tried" not in str(fault)


async def test_all_addresses_of_a_registry_share_the_time_in_which_a_person_is_told(tmp_path: Path) -> None:
    with deaf() as host, deaf() as first, deaf() as second:
        async with running(ImageSettings(root=tmp_path)) as room:
            room.configure([RegistrySettings(host=host, mirrors=(f"http://{first}", f"http://{second}"))])
            fault = await failure(room, f"{host}/a:1")
    waited = [float(one) for one in re.findall(r"no connection within ([\d.]+) s", str(fault))]
    assert len(waited) == 3, str(fault)
    assert sum(waited) <= 4.1
    assert all(f"{one}" in str(fault) for one in (first, second, host))


async def test_mirrors_come_first_and_the_host_itself_last(tmp_path: Path) -> None:
    async with running_registry() as registry, running_registry() as mirror:
        kept = await push_image(mirror, "library/kept:1", [layer({"a": b"mirror"})])
        own = await push_image(registry, "own:1", [layer({"a": b"own"})])
        dead = f"http://127.0.0.1:{free_port()}"
        async with running(ImageSettings(root=tmp_path)) as room:
            room.configure(
                [
                    RegistrySettings(host="docker.io", mirrors=(dead, f"http://{mirror}")),
                    RegistrySettings(host=registry, mirrors=(f"http://{mirror}",)),
                ]
            )
            image = await room.puller.pull("kept:1", NOBODY)
            assert (image.id, image.tags) == (kept.id, ("docker.io/library/kept:1",))
            assert (await room.puller.pull(own.name, NOBODY)).id == own.id


@pytest.mark.parametrize("auth", ["basic", "token"])
async def test_a_mirror_is_shown_a_login_where_it_is_named_by_it_or_the_settings_say_so(
    tmp_path: Path, auth: Literal["basic", "token"]
) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    async with running_registry(auth) as mirror, running(ImageSettings(root=tmp_path)) as room:
        pushed = await push_image(mirror, "private:1", [layer({"a": b"1"})], auth=auth)
        image, login = f"{nowhere}/private:1", Credentials(username=USER, password=PASSWORD)
        settings = RegistrySettings(host=nowhere, mirrors=(f"http://{mirror}",))
        room.configure([settings])
        fault = await failure(room, image, login)
        assert f"mirrors of {nowhere} are shown pods' logins only where its mirror_logins is set" in str(fault)
        assert "mirror_logins" not in str(await failure(room, image, NOBODY)), "that would not help who has none"
        named = msgspec.structs.replace(login, server_address=mirror)
        assert (await room.puller.pull(image, named)).id == pushed.id
        room.store.remove(image)
        room.configure([msgspec.structs.replace(settings, mirror_logins=True)])
        assert (await room.puller.pull(image, login)).id == pushed.id
        room.store.remove(image)
        other = msgspec.structs.replace(login, server_address="registry.example")
        await failure(room, image, other)


async def test_what_a_mirror_lacks_is_not_sought_for_long_at_a_host_out_of_reach(tmp_path: Path) -> None:
    host = f"127.0.0.1:{free_port()}"
    async with running_registry() as mirror, running(ImageSettings(root=tmp_path)) as room:
        room.configure([RegistrySettings(host=host, mirrors=(f"http://{mirror}",))])
        fault = await failure(room, f"{host}/typo:1")
        assert fault.kind is Kind.UNAVAILABLE
        assert "(tried 2 times)" in str(fault)
        assert f"before that, {mirror}: {mirror} has no such image" in str(fault)


async def test_a_new_tag_of_a_known_image_costs_no_download_and_a_moved_tag_moves(tmp_path: Path) -> None:
    async with running_registry() as registry, flaky_registry(registry) as (flaky, address):
        one = layer({"a": os.urandom(200_000)})
        first = await push_image(registry, "a:1", [one])
        async with running(ImageSettings(root=tmp_path)) as room:
            await room.puller.pull(f"{address}/a:1", NOBODY)
            await push_image(registry, "b:1", [one])
            both = await room.puller.pull(f"{address}/b:1", NOBODY)
            assert both.tags == (f"{address}/a:1", f"{address}/b:1")
            assert flaky.blobs == 1
            await push_image(registry, "a:1", [one, layer({"b": b"2"})])
            moved = await room.puller.pull(f"{address}/a:1", NOBODY)
            assert flaky.blobs == 1
            assert moved.layers[-1] == both.layers[-1]
            assert room.store.find(f"{address}/a:1").id == moved.id != first.id
            assert room.store.find(first.id).tags == (f"{address}/b:1",)
