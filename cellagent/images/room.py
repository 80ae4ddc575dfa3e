"""The image room: the store, the puller and the keeper that clears away what nobody needs, under one roof."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from cellagent.images.handler import ImageService
from cellagent.images.messages import PullDelayed, PullProgress, RegistrySettings
from cellagent.images.puller import Puller
from cellagent.images.store import ImageStore, delete
from cellwire.faults import Fault, Kind
from cellwire.proxies import Proxies
from hostkit import files

RETRY_SECONDS = 10.0
log = logging.getLogger(__name__)


class ImageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the image store and of the registries. A pull may stand still for `stall_seconds`."""

    root: Path
    registries: tuple[RegistrySettings, ...] = ()
    pinned: tuple[str, ...] = ()
    stall_seconds: float = 60.0
    proxies: Proxies = Proxies()
    shared: Path | None = None
    """Layers that this machine has in common with others (see `shared`), if any."""


class ImageRoom:
    """The image room: its parts that the rest of the agent uses."""

    def __init__(self, store: ImageStore, puller: Puller) -> None:
        self.store = store
        self.service = ImageService(store, puller.pull)
        self.puller = puller

    def configure(self, registries: Iterable[RegistrySettings]) -> None:
        """How registries are reached, from the next pull on."""
        self.puller.registries = tuple(registries)


def _nothing(_: PullProgress | PullDelayed) -> None:
    pass


@asynccontextmanager
async def running(
    settings: ImageSettings, on_progress: Callable[[PullProgress | PullDelayed], None] = _nothing
) -> AsyncGenerator[ImageRoom]:
    """The room, from its folder. Pulls under way end with it. Raises Fault BROKEN for a folder that cannot be used."""
    store, rubbish = _opened(settings)
    async with asyncio.TaskGroup() as keeper:
        async with asyncio.TaskGroup() as pulls:
            puller = Puller(
                store,
                pulls,
                on_progress,
                stall_seconds=settings.stall_seconds,
                proxies=settings.proxies,
                shared=settings.shared,
            )
            puller.registries = settings.registries
            keeping = keeper.create_task(_keep(store, puller, rubbish))
            try:
                yield ImageRoom(store, puller)
            finally:
                puller.stop()
        keeping.cancel()


def _opened(settings: ImageSettings) -> tuple[ImageStore, list[Path]]:
    """The store, and what earlier lives have left in it to be deleted."""
    try:
        settings.root.mkdir(parents=True, exist_ok=True)
        store = ImageStore(settings.root.resolve(), pinned=settings.pinned, shared=settings.shared)
        return store, store.rubbish()
    except OSError as error:
        mend = "mend its disk, or choose a folder that root may write"
        raise Fault(Kind.BROKEN, f"image folder {settings.root}", str(error), mend) from error


async def _keep(store: ImageStore, puller: Puller, rubbish: Iterable[Path]) -> None:
    """Delete rubbish and settle new layers whenever something has changed and no pull runs.

    What the disk does not take now, as when it is full, is tried again.
    """
    changed = asyncio.Event()
    store.freed = changed.set
    await asyncio.to_thread(delete, rubbish)
    changed.set()
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if store.saved else RETRY_SECONDS):
                await changed.wait()
        changed.clear()
        if puller.busy:
            continue
        await asyncio.to_thread(delete, store.garbage(asyncio.get_running_loop().time()))
        if not store.saved:
            store.save_if_possible()
        store.keep_reserve()
        if unsettled := store.unsettled():
            try:
                # Everything at once, off the loop: what a pull wrote, and the index that names it.
                await asyncio.to_thread(files.sync_filesystem, store.root)
            except OSError as error:
                log.warning("images are not safe from a crash of this machine yet: %s", error)
                continue
            store.settle(unsettled)
