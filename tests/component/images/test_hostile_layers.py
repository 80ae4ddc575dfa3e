"""Layers that try to get out of their folder, unpacked by the real process as root."""

from __future__ import annotations

import asyncio
import bz2
import lzma
import os
import stat
import tarfile
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from cellagent.images import unpackers
from cellagent.images.manifest import Descriptor
from cellagent.images.messages import Unpacked
from cellwire.faults import Fault, Kind
from hostkit import programs
from tests.support.files import names
from tests.support.oci import Compression, Layer, LayerEntry, folder, hardlink, layer, symlink, tar

FIFO = LayerEntry(tarfile.FIFOTYPE)
BLOCK = 4096


class Unheard:
    """Nobody hears of these layers."""

    def arrived(self, count: int) -> None:
        pass

    def held(self, why: str) -> AbstractContextManager[None]:
        return nullcontext()


UNHEARD = Unheard()


class Given:
    """A registry that has one blob."""

    def __init__(self, blob: bytes, piece: int = 70_000) -> None:
        self._blob, self._piece = blob, piece

    async def blob(self, descriptor: Descriptor) -> AsyncGenerator[bytes]:
        for at in range(0, len(self._blob), self._piece):
            yield self._blob[at : at + self._piece]


async def unpacked(
    target: Path, one: Layer, *, blob: bytes | None = None, diff_id: str = "", room: int = 0
) -> Unpacked:
    target.mkdir(exist_ok=True)
    content = one.blob if blob is None else blob
    wanted = Descriptor(one.media_type, one.digest, len(content))
    async with unpackers.running(room) as them:
        return await them.unpack(str(target), wanted, diff_id or one.diff_id, Given(content), UNHEARD)


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A neighbour that must not change."""
    place = tmp_path / "outside"
    place.mkdir()
    (place / "secret").write_text("untouched")
    return place


def untouched(outside: Path) -> bool:
    secret = outside / "secret"
    return names(outside) == ["secret"] and secret.read_text() == "untouched" and secret.stat().st_nlink == 1


@pytest.mark.parametrize(
    "name", ["../outside/x", "a/../../outside/x", "..", "/../outside/x", ".wh...", ".wh..", "d/.wh.."]
)
async def test_a_name_that_climbs_fails_the_layer(tmp_path: Path, outside: Path, name: str) -> None:
    with pytest.raises(Fault, match=r"leads out|impossible name") as caught:
        await unpacked(tmp_path / "layer", layer([(name, b"evil")]))
    assert caught.value.kind is Kind.BROKEN
    assert untouched(outside)


async def test_what_aufs_kept_for_itself_leaves_no_trace_but_its_files_keep_their_names(tmp_path: Path) -> None:
    books: list[tuple[str, bytes | LayerEntry]] = [
        (".wh..wh.aufs", b""),
        (".wh..wh.orph", folder()),
        (".wh..wh.plnk", folder()),
        (".wh..wh.plnk/135.1", b"of two names"),
        ("one", hardlink("/.wh..wh.plnk/135.1")),
        ("two", hardlink(".wh..wh.plnk/135.1")),
    ]
    found = await unpacked(tmp_path / "layer", layer(books))
    assert names(tmp_path / "layer") == ["one", "two"]
    assert (tmp_path / "layer" / "one").read_bytes() == b"of two names"
    assert (tmp_path / "layer" / "two").stat().st_nlink == 2
    assert found.whiteouts == found.implicit == []


async def test_absolute_names_and_symlinks_end_at_the_wall_of_the_folder(tmp_path: Path, outside: Path) -> None:
    entries: list[tuple[str, bytes | LayerEntry]] = [
        (str(outside / "absolute"), b"evil"),
        ("up", symlink("../../../../../../.." + str(outside))),
        ("full", symlink(str(outside))),
        ("full/secret", b"evil"),
        ("up/through", b"evil"),
        ("file", symlink(str(outside / "secret"))),
        ("file", b"evil"),
        ("proc", symlink("/proc/self/cwd")),
    ]
    await unpacked(tmp_path / "layer", layer(entries))
    assert untouched(outside)
    inside = tmp_path / "layer" / str(outside).lstrip("/")
    assert sorted(names(inside)) == ["absolute", "secret", "through"]
    assert not (tmp_path / "layer/file").is_symlink()


async def test_hardlinks_reach_nothing_outside(tmp_path: Path, outside: Path) -> None:
    for target in ("../outside/secret", str(outside / "secret"), "/etc/passwd"):
        with pytest.raises(Fault):
            await unpacked(tmp_path / "layer", layer([("hard", hardlink(target)), ("hard", b"evil")]))
    linked: list[tuple[str, bytes | LayerEntry]] = [
        ("out", symlink(str(outside / "secret"))), ("hard", hardlink("out")), ("hard", b"evil")
    ]  # fmt: skip
    await unpacked(tmp_path / "second", layer(linked))
    assert untouched(outside)


async def test_devices_and_fifos_are_never_opened(tmp_path: Path) -> None:
    # Writing to 1:7 is "no space left"; opening a fifo would hang.
    full = LayerEntry(tarfile.CHRTYPE, device=(1, 7), mode=0o666)
    await unpacked(
        tmp_path / "layer", layer([("dev", full), ("dev", b"x" * 9), ("pipe", FIFO), ("pipe", b"y"), ("kept", full)])
    )
    assert (tmp_path / "layer/dev").read_bytes() == b"x" * 9
    assert (tmp_path / "layer/pipe").read_bytes() == b"y"
    assert (tmp_path / "layer/kept").stat().st_rdev == os.makedev(1, 7)


async def test_planted_python_modules_are_never_imported(tmp_path: Path) -> None:
    import encodings

    names = [f"{p}/{m}.py" for p in ("", str(Path(os.__file__).parent), str(Path(encodings.__file__).parent)) for m in (
        "traceback", "idna", "punycode", "linecache", "zstandard"
    )]  # fmt: skip
    evil = b"open('/owned', 'w')"
    with pytest.raises(Fault):
        await unpacked(tmp_path / "layer", layer([*((n, evil) for n in names), ("xn--é\udce9", b""), ("..", b"")]))
    assert not (tmp_path / "layer/owned").exists()


async def test_whiteouts_become_what_overlayfs_wants(tmp_path: Path) -> None:
    await unpacked(
        tmp_path / "layer",
        layer(
            [
                (".wh.gone", b""),
                ("d/.wh..wh..opq", b""),
                ("d/x", b"1"),
                (".wh..wh.plnk/1", b""),
                (".wh..wh.aufs", b""),
                (".wh.again", b""),
                ("again", folder()),
                ("again/y", b"1"),
                ("both", b"1"),
                (".wh.both", b""),
            ]
        ),
    )
    root = tmp_path / "layer"
    gone = (root / "gone").stat()
    assert stat.S_ISCHR(gone.st_mode)
    assert gone.st_rdev == 0
    assert os.getxattr(root / "d", "trusted.overlay.opaque") == b"y"
    assert os.getxattr(root / "again", "trusted.overlay.opaque") == b"y"
    assert (root / "both").read_bytes() == b"1"
    assert not [name for name in names(root) if name.startswith(".wh.") and name != ".wh..wh.plnk"]


FORMS = {
    "old": ["--format=gnu"],
    "0.0": ["--format=posix", "--sparse-version=0.0"],
    "0.1": ["--format=posix", "--sparse-version=0.1"],
    "1.0": ["--format=posix", "--sparse-version=1.0"],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
async def test_sparse_files_as_gnu_tar_writes_them_are_whole_and_stay_sparse(tmp_path: Path, form: list[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    with (source / "holes").open("wb") as file:
        for number in range(40):
            file.seek(number << 20)
            file.write(os.urandom(5000))
        file.truncate(64 << 20)
    with (source / "nothing").open("wb") as file:
        file.truncate(1 << 30)
    archive = tmp_path / "archive.tar"
    await programs.check(["tar", "-C", str(source), "-S", *form, "-cf", str(archive), "holes", "nothing"])
    assert archive.stat().st_size < 2 << 20
    await unpacked(tmp_path / "layer", layer(archive.read_bytes()))
    with (source / "holes").open("rb") as left, (tmp_path / "layer/holes").open("rb") as right:
        assert left.read() == right.read()
    assert (tmp_path / "layer/nothing").stat().st_size == 1 << 30
    for name in ("holes", "nothing"):
        assert (tmp_path / "layer" / name).stat().st_blocks * 512 < 2 << 20


async def test_xz_is_unpacked_and_other_compressions_are_told_by_name(tmp_path: Path) -> None:
    plain = layer({"a": b"1" * 100_000}, "none")
    blob = lzma.compress(plain.blob[:1000]) + bytes(8) + lzma.compress(plain.blob[1000:]) + bytes(4)
    await unpacked(tmp_path / "xz", Layer(blob, plain.diff_id, plain.media_type))
    assert (tmp_path / "xz/a").read_bytes() == b"1" * 100_000
    with pytest.raises(Fault, match="digest mismatch: the registry sent"):
        await unpacked(tmp_path / "cut", Layer(blob, plain.diff_id, plain.media_type), blob=blob[:-60])
    greedy = lzma.compress(plain.blob, preset=None, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}])
    with pytest.raises(Fault, match="cannot be decompressed"):
        await unpacked(tmp_path / "greedy", Layer(greedy, plain.diff_id, plain.media_type))
    with pytest.raises(Fault, match="it is compressed with bzip2") as caught:
        await unpacked(tmp_path / "bz2", Layer(bz2.compress(plain.blob), plain.diff_id, plain.media_type))
    assert caught.value.kind is Kind.UNSUPPORTED


async def test_owners_modes_times_attributes_and_hardlinks_are_kept(tmp_path: Path) -> None:
    capability = "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    await unpacked(
        tmp_path / "layer",
        layer(
            [
                ("d", folder(0o2775, 5, 6)),
                ("d/suid", LayerEntry(content=b"x", mode=0o6755, uid=7, gid=8, mtime=12.25)),
                (
                    "d/cap",
                    LayerEntry(
                        content=b"x",
                        mode=0o755,
                        xattrs={"security.capability": capability, "trusted.overlay.redirect": "/etc"},
                    ),
                ),
                ("d/" + "n" * 200, b"long"),
                ("h", hardlink("d/suid")),
                ("l", symlink("x" * 200)),
                ("./", folder(0o700)),
            ]
        ),
    )
    root = tmp_path / "layer"
    suid = (root / "d/suid").stat()
    assert (suid.st_mode & 0o7777, suid.st_uid, suid.st_gid, suid.st_mtime) == (0o6755, 7, 8, 12.25)
    assert (root / "d").stat().st_mode & 0o7777 == 0o2775
    assert (root / "d").stat().st_mtime == 1_700_000_000
    assert os.listxattr(root / "d/cap") == ["security.capability"]
    assert (root / "h").samefile(root / "d/suid")
    assert root.stat().st_mode & 0o7777 == 0o700
    assert (root / ("d/" + "n" * 200)).read_bytes() == b"long"


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
async def test_a_layer_whose_bytes_differ_from_the_promise_is_refused(tmp_path: Path, compression: Compression) -> None:
    one = layer({"a": b"1" * 10_000}, compression)
    other = layer({"a": b"2" * 10_000}, compression)
    damaged = bytearray(one.blob)
    damaged[len(damaged) // 2] ^= 0xFF
    for blob in (other.blob, bytes(damaged), one.blob[:-20], one.blob + b"more", b""):
        with pytest.raises(Fault, match="digest mismatch: the registry sent"):
            await unpacked(tmp_path / "layer", one, blob=blob)
    with pytest.raises(Fault, match="digest mismatch: it unpacks to"):
        await unpacked(tmp_path / "layer", one, diff_id=other.diff_id)


async def test_gzip_members_missing_padding_and_bombs_are_taken_in_stride(tmp_path: Path) -> None:
    import gzip
    import hashlib

    content = tar({"/": folder(), "zeros": b"\0" * 80_000_000, "last": b"end"})[
        : 512 + 512 + 80_000_000 + 512 + 3 + 256
    ]
    assert 80_000_000 % 512 == 0
    raw = content[: content.rindex(b"end") + 3]
    blob = gzip.compress(raw[:1000], 1) + gzip.compress(raw[1000:], 1) + bytes(100)
    one = Layer(blob, "sha256:" + hashlib.sha256(raw).hexdigest(), "application/vnd.oci.image.layer.v1.tar+gzip")
    done = await unpacked(tmp_path / "layer", one)
    assert done.unpacked == 80_000_003
    assert (tmp_path / "layer/last").read_bytes() == b"end"


async def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    await programs.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], deadline=10)
    try:
        with pytest.raises(Fault, match="no space is left") as caught:
            await unpacked(small, layer({"big": os.urandom(3_000_000)}))
        assert caught.value.kind is Kind.UNAVAILABLE
    finally:
        await programs.run(["umount", str(small)], deadline=10)


async def test_a_link_to_a_name_that_the_layer_removes_is_no_second_whiteout(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="which it removes itself"):
        await unpacked(tmp_path / "layer", layer([(".wh.gone", b""), ("kept", hardlink("gone"))]))


async def test_layers_are_unpacked_beside_each_other_by_processes_that_never_meet(tmp_path: Path) -> None:
    good = [layer({f"own-{number}": bytes([number]) * 300_000}) for number in range(6)]
    bad = layer([("..", b"")])
    async with unpackers.running() as them:

        async def one(number: int, content: Layer) -> Unpacked | Fault:
            target = tmp_path / str(number)
            target.mkdir()
            wanted = Descriptor(content.media_type, content.digest, len(content.blob))
            try:
                return await them.unpack(str(target), wanted, content.diff_id, Given(content.blob), UNHEARD)
            except Fault as fault:
                return fault

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(number, content)) for number, content in enumerate([*good, bad])]
    done = [task.result() for task in tasks]
    assert isinstance(done[-1], Fault)
    for number, told in enumerate(done[:-1]):
        assert isinstance(told, Unpacked)
        assert names(tmp_path / str(number)) == [f"own-{number}"]
    assert not names(tmp_path / "6")


async def test_nothing_writes_any_more_once_the_processes_are_given_up(tmp_path: Path) -> None:
    class Endless(Given):
        """Feeds half of a layer, and then waits for ever."""

        async def blob(self, descriptor: Descriptor) -> AsyncGenerator[bytes]:
            yield self._blob[: len(self._blob) // 2]
            begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()
    content = layer({str(number): os.urandom(1000) for number in range(3000)}, "none")
    target = tmp_path / "layer"
    target.mkdir()
    wanted = Descriptor(content.media_type, content.digest, len(content.blob))

    async def given_up() -> None:
        async with asyncio.TaskGroup() as group, unpackers.running() as them:
            half = Endless(content.blob)
            group.create_task(them.unpack(str(target), wanted, content.diff_id, half, UNHEARD))
            await begun.wait()
            raise Fault(Kind.BROKEN, "pull", "another layer failed")

    with pytest.raises(ExceptionGroup):
        await given_up()
    there = len(names(target))
    holders = [link for link in Path("/proc").glob("[0-9]*/root") if _leads_to(link, target)]
    assert (holders, len(names(target))) == ([], there)


def _leads_to(link: Path, target: Path) -> bool:
    try:
        return link.readlink() == target
    except OSError:
        return False


def _scattered(pieces: int) -> bytes:
    """An archive of one sparse file, of a byte in each second block."""
    info = tarfile.TarInfo("scattered")
    info.size = pieces
    where = ",".join(f"{2 * BLOCK * number},1" for number in range(pieces))
    named = {"size": str(2 * BLOCK * pieces), "numblocks": str(pieces), "map": where, "name": "scattered"}
    info.pax_headers = {f"GNU.sparse.{key}": text for key, text in named.items()}
    return info.tobuf(tarfile.PAX_FORMAT) + b"x" * pieces + bytes(-pieces % tarfile.BLOCKSIZE)


def _on_disk(top: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in top.rglob("*"))


@pytest.mark.parametrize(
    ("hostile", "least"),
    [
        (layer({"/".join(["d"] * 400 + [str(number)] * 400 + ["x"]): b"" for number in range(3)}), 1600 * BLOCK),
        (layer([(str(n), folder()) for n in range(500)]), 500 * BLOCK),
        (layer({str(n): LayerEntry(content=b"x", xattrs={"user.a": f"{n:03000}"}) for n in range(500)}), 1000 * BLOCK),
        (layer(_scattered(1000)), 1000 * BLOCK),
    ],
    ids=["folders that no entry describes", "folders", "extended attributes", "pieces of a sparse file"],
)
async def test_what_a_layer_takes_of_the_disk_is_told_and_bounded_whatever_it_is_made_of(
    tmp_path: Path, hostile: Layer, least: int
) -> None:
    found = await unpacked(tmp_path / "layer", hostile)
    assert found.taken >= max(least, _on_disk(tmp_path / "layer"))
    with pytest.raises(Fault, match="larger than") as caught:
        await unpacked(tmp_path / "again", hostile, room=least // 2)
    assert caught.value.reason == "NoSpace"
    assert _on_disk(tmp_path / "again") <= least // 2
