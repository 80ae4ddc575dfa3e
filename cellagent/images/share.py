"""The process that fills a machine's shared layers: `python -m cellagent.images.share`, one for each image.

One request as JSON on stdin, one answer as JSON on stdout. It pulls as a cell does, by the same code and with a pod's
own credentials, and keeps the layers only: whoever uses them asks the registry itself. It goes where no cell is in its
place: `cellwire.reachable` says how far.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from cellagent.images import manifest, shared
from cellagent.images.image_source import Image
from cellagent.images.messages import Credentials, LayerReady, PullDelayed, Pulled, PullProgress, RegistrySettings
from cellagent.images.puller import Puller
from cellagent.images.reference import Reference
from cellwire.faults import Fault
from cellwire.proxies import Proxies
from hostkit import collection, files


class ShareRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An image whose layers are wanted in the folder `layers`, by way of the folder `work` on the same disk. All
    have so many bytes of `room`.
    """

    image: str
    layers: str
    work: str
    room: int
    username: str = ""
    password: str = ""
    registries: tuple[RegistrySettings, ...] = ()
    proxies: Proxies = Proxies()
    stall_seconds: float = 60.0


class ShareReply(msgspec.Struct, frozen=True, kw_only=True):
    """The image's id, or why its layers are not there."""

    image_id: str = ""
    fault: str = ""


class _LayerStore:
    """Where the layers of one pull go."""

    def __init__(self, layers: Path, work: Path) -> None:
        self._layers = layers
        self._work = work
        for each in (self._layers, self._work):
            each.mkdir(parents=True, exist_ok=True)

    def present(self) -> dict[str, str]:
        """Nothing of this process' own: what others put there is found as readers find it."""
        return {}

    def work_folder(self) -> Path:
        """A new empty folder."""
        folder = self._work / f"pull-{os.getpid()}-{os.urandom(4).hex()}"
        folder.mkdir(mode=0o700)
        return folder

    def done_with(self, work: Path) -> None:
        """Remove what a pull left."""
        files.remove_tree(work)

    def adopt(self, layer: LayerReady, now: float) -> None:
        """Put a complete layer where all see it. Raises OSError."""
        del now
        if not layer.shared:
            shared.put(self._layers, layer)

    def add(self, wanted: Reference, pulled: Pulled) -> Image:
        """The image, of which nothing is kept."""
        decoded = manifest.decode_config(pulled.config, f"image {wanted}")
        return Image(id=pulled.config_digest, tags=(), digests=(), size=0, config=decoded.config, layers=())

    def freed(self) -> None:
        """Nothing is ever freed here."""


async def share(request: ShareRequest) -> ShareReply:
    """Have the image's layers in the folder."""
    layers = Path(request.layers)
    store = _LayerStore(layers, Path(request.work))
    own = Credentials(username=request.username, password=request.password)
    async with asyncio.TaskGroup() as pulls:
        puller = Puller(
            store,
            pulls,
            _nothing,
            stall_seconds=request.stall_seconds,
            proxies=request.proxies,
            shared=layers,
            room=request.room,
        )
        puller.registries = request.registries
        try:
            image = await puller.pull(request.image, own)
        except Fault as fault:
            return ShareReply(fault=str(fault))
    return ShareReply(image_id=image.id)


def _nothing(_: PullProgress | PullDelayed) -> None:
    pass


async def run() -> None:
    """Read the request, serve it, answer."""
    request = msgspec.json.decode(await asyncio.to_thread(sys.stdin.buffer.read), type=ShareRequest)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(share(request))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
    os.write(1, msgspec.json.encode(work.result()) + b"\n")


if __name__ == "__main__":
    asyncio.run(run())
    collection.leave_all()
