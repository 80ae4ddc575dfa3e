"""Cold pull of a realistic image: the agent's image room (PullImage over a unix socket) beside containerd (`ctr pull`).

Both pull from one local registry whose blobs are in the page cache, into an empty store, in turn. Containerd syncs
compressed blobs while it pulls; the room syncs afterwards, so the disk is synced between the rounds, outside the times.
`--rounds N`, `--megabytes N` (compressed, about), `--only ours|containerd`.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import statistics
import sys
import tarfile
import tempfile
import time
import zlib
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path

from grpclib.client import Channel
from grpclib.server import Server

from cellagent.images.room import ImageSettings, running
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import ImageServiceStub
from tests.support.oci import Layer, push_image
from tests.support.registry import running_registry

# Share of all bytes and of all files: a base, two of packages, a language's modules, an application, its assets.
SHAPE = ((0.22, 0.15), (0.24, 0.22), (0.18, 0.20), (0.20, 0.30), (0.10, 0.10), (0.05, 0.02), (0.01, 0.01))
FILES = 23_000
UNPACKED_PER_COMPRESSED = 3.1


def words(rng: random.Random) -> bytes:
    """A megabyte of something that compresses as programs and texts do."""
    some = [rng.randbytes(rng.randint(3, 12)) for _ in range(300)]
    return b" ".join(rng.choices(some, k=200_000))[: 1 << 20]


def contents(rng: random.Random, size: int, pool: bytes) -> Iterator[bytes]:
    while size > 0:
        part = min(size, rng.randint(300, 6000))
        if rng.random() < 0.1:
            yield rng.randbytes(part)
        else:
            at = rng.randrange(len(pool) - part)
            yield pool[at : at + part]
        size -= part


def build(seed: int, size: int, files: int) -> tuple[bytes, str, int]:
    """One gzip layer of `files` files and `size` bytes, unpacked: the blob, its diff id, its entries."""
    rng = random.Random(seed)
    pool = words(rng)
    weights = [rng.lognormvariate(0, 1.6) for _ in range(files)]
    scale = size / sum(weights)
    plain = BytesIO()
    count = 0
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:

        def add(name: str, kind: bytes, content: bytes = b"", link: str = "") -> None:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(content), link
            info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
            info.mtime = 1_700_000_000
            archive.addfile(info, BytesIO(content))

        for number, weight in enumerate(weights):
            folder = f"usr/lib/part{seed}/d{number // 400}/e{number // 20}"
            if number % 400 == 0:
                for depth in range(1, 5):
                    if number == 0 or depth == 4:
                        add("/".join(folder.split("/")[:depth]), tarfile.DIRTYPE)
                        count += 1
            if number % 20 == 0:
                add(folder, tarfile.DIRTYPE)
                count += 1
            if number % 25 == 24:
                add(f"{folder}/link{number}.so", tarfile.SYMTYPE, link="../target.so")
            else:
                add(f"{folder}/module_{number}.py", tarfile.REGTYPE, b"".join(contents(rng, int(weight * scale), pool)))
            count += 1
    raw = plain.getvalue()
    squeezer = zlib.compressobj(6, wbits=31)
    blob = squeezer.compress(raw) + squeezer.flush()
    return blob, "sha256:" + hashlib.sha256(raw).hexdigest(), count


@asynccontextmanager
async def containerd(folder: Path) -> AsyncGenerator[str]:
    """Debian's containerd with a root of its own; yields its socket."""
    folder.mkdir()
    socket = f"{folder}/c.sock"
    (folder / "config.toml").write_text(
        f'version = 2\nroot = "{folder}/root"\nstate = "{folder}/state"\n'
        f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{socket}"\n'
    )
    process = await asyncio.create_subprocess_exec(
        "containerd", "-c", f"{folder}/config.toml", "-l", "error", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(20):
            while await command("ctr", "-a", socket, "version"):
                await asyncio.sleep(0.1)
        yield socket
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def command(*argv: str) -> int:
    null = asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*argv, stdout=null, stderr=null)
    return await process.wait()


async def theirs(work: Path, reference: str) -> float:
    async with containerd(work) as socket:
        began = time.monotonic()
        code = await command("ctr", "-a", socket, "-n", "bench", "images", "pull", "--plain-http", reference)
        took = time.monotonic() - began
        if code:
            raise SystemExit(f"ctr failed with code {code}")
    return took


async def ours(work: Path, reference: str, entries: int) -> float:
    work.mkdir()
    socket = str(work / "s")
    async with running(ImageSettings(root=work / "images")) as room:
        server = Server([room.service])
        await server.start(path=socket)
        channel = Channel(path=socket)
        stub = ImageServiceStub(channel)
        began = time.monotonic()
        await stub.PullImage(cri.PullImageRequest(image=cri.ImageSpec(image=reference)))
        took = time.monotonic() - began
        written = room.store.usage()[1]
        channel.close()
        server.close()
        await server.wait_closed()
    if written != entries:
        raise SystemExit(f"unpacked {written} of {entries} entries")
    return took


def settle() -> None:
    """Let the disk come to rest. Nothing is deleted before the end: ext4 steps over each inode freed within the last
    half minute, one by one, so that creating files after a great deletion takes ten times as long for whoever is next.
    """
    os.sync()
    time.sleep(1)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=300)
    parser.add_argument("--only", choices=("ours", "containerd"))
    options = parser.parse_args()
    size = int(options.megabytes * 1e6 * UNPACKED_PER_COMPRESSED)
    with tempfile.TemporaryDirectory(prefix="bench-pull-", dir=os.environ.get("BENCH_FOLDER")) as name:
        work = Path(name)
        with ProcessPoolExecutor(2) as pool:
            parts = list(
                pool.map(
                    build,
                    range(len(SHAPE)),
                    [int(size * share) for share, _ in SHAPE],
                    [int(FILES * share) for _, share in SHAPE],
                )
            )
        media = "application/vnd.oci.image.layer.v1.tar+gzip"
        layers = [Layer(blob, diff_id, media) for blob, diff_id, _ in parts]
        entries = sum(count for _, _, count in parts)
        compressed = sum(len(blob) for blob, _, _ in parts)
        print(f"image: {len(layers)} layers, {entries} entries, {compressed / 1e6:.0f} MB compressed", flush=True)
        (work / "registry").mkdir()
        async with running_registry(folder=work / "registry") as registry:
            pushed = await push_image(registry, "bench/realistic:1", layers)
            del parts, layers
            settle()
            times: dict[str, list[float]] = {"ours": [], "containerd": []}
            for number in range(options.rounds):
                if options.only != "containerd":
                    times["ours"].append(await ours(work / f"ours-{number}", pushed.name, entries))
                    settle()
                if options.only != "ours":
                    times["containerd"].append(await theirs(work / f"theirs-{number}", pushed.name))
                    settle()
                print(
                    f"round {number + 1}: " + ", ".join(f"{k} {v[-1]:.2f} s" for k, v in times.items() if v), flush=True
                )
    medians = {name: statistics.median(values) for name, values in times.items() if values}
    for who, value in medians.items():
        print(f"{who}: median {value:.2f} s")
    if len(medians) == 2:
        print(f"ratio: {medians['ours'] / medians['containerd']:.2f}")


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
