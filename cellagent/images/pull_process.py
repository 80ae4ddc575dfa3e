"""The process that pulls one image: `python -m cellagent.images.pull_process`.

The request is one frame on stdin, credentials included; progress, layers and the end are frames on stdout. It writes
only into the request's work folder. It ends with its parent: stdin at its end, or SIGTERM, stops it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import aclosing, contextmanager, suppress

from cellagent.images import (
    child_processes,
    layers,
    manifest,
    manifest_selection,
    pipe_frames,
    reference,
)
from cellagent.images.extract import fault_of
from cellagent.images.messages import (
    Failure,
    LayerReady,
    PullDelayed,
    Pulled,
    PullMessage,
    PullProgress,
    PullRequest,
)
from cellagent.images.shared import SharedLayers
from cellwire.faults import Fault, Kind
from hostkit import collection, late_authorities
from hostkit.pipes import handed_over, reading
from hostkit.resolving_loop import ResolvingLoop

# Many a registry is asked without TLS, or trusted by its own authority.
with late_authorities.awaited():
    from cellagent.images import registry_client  # and with it aiohttp

PROGRESS_SECONDS = 0.2
# A person hears within 5 s, if not of the image then of what keeps it; and again, no more often than it is shown.
QUIET_SECONDS, AGAIN_SECONDS = 4.4, 10.0
LOOK_SECONDS = 0.1


class ProgressTeller:
    """Tells the parent how far we are or what we wait for, and the stall clock that we are alive. `began` is when the
    pull was asked for (monotonic).
    """

    def __init__(self, image: str, stall: asyncio.Timeout, stall_seconds: float, began: float = 0.0) -> None:
        self._heard = began or time.monotonic()
        self._any = False
        self._excused = 0.0
        self._asked = ""
        self._under_way = 0
        self._held: list[str] = []
        self._image = image
        self._stall = stall
        self._stall_seconds = stall_seconds
        self._next = 0.0
        self.bytes_total = 0
        self.layers_total = 0
        self._bytes = 0
        self._layers = 0

    def begins(self, size: int, layers: int) -> None:
        """All questions are answered; so many layers are to come, of so many compressed bytes."""
        self.bytes_total, self.layers_total, self._asked = size, layers, ""
        self.arrived(0)

    @contextmanager
    def fetching(self) -> Generator[None]:
        """While it lasts, one layer more is on its way."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    @contextmanager
    def held(self, why: str) -> Generator[None]:
        """While it lasts, one of them waits for something else than its registry: that is silent from then on only."""
        self._held.append(why)
        try:
            yield
        finally:
            self._held.remove(why)
            self._heard = time.monotonic()

    def arrived(self, count: int) -> None:
        """`count` compressed bytes came."""
        self._bytes += count
        now = self._alive()
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            self._progress()

    def ready(self, layer: LayerReady) -> None:
        """A layer is whole."""
        self._layers += 1
        self._alive()
        tell(layer)
        self._progress()

    def asks(self, host: str) -> None:
        """The next answer must come from this host."""
        self._asked = host

    def waits(self, why: str, seconds: float) -> None:
        """The registry asked us to wait: to do so is no standstill."""
        self._excused = time.monotonic() + seconds
        self._wake(seconds)
        if self._excused - self._heard >= QUIET_SECONDS:
            self._delayed(why)

    async def watch(self) -> None:
        """For ever: tell what is missing once nothing has come for so long that a person should know."""
        told = 0.0
        while True:
            now = time.monotonic()
            due = max(self._heard + QUIET_SECONDS, self._excused, told + AGAIN_SECONDS)
            if now >= due and (why := self._quiet(now - self._heard)):
                told = now
                self._delayed(why)
            await asyncio.sleep(max(due - now, LOOK_SECONDS))

    def _quiet(self, seconds: float) -> str:
        if self._held and len(self._held) >= self._under_way:
            return f"{self._held[0]} ({seconds:.0f} s by now)"
        if not self._asked:
            return ""
        if self._any:
            return f"{self._asked} has sent nothing for {seconds:.0f} s"
        # The start of this process is part of it, which on a busy machine is no fault of the registry's.
        return f"no answer of {self._asked} yet, {seconds:.0f} s after the image was asked for"

    def _delayed(self, why: str) -> None:
        tell(PullDelayed(image=self._image, why=why))

    def _alive(self) -> float:
        self._heard, self._any = time.monotonic(), True
        self._wake()
        return self._heard

    def _wake(self, more: float = 0.0) -> None:
        self._stall.reschedule(asyncio.get_running_loop().time() + self._stall_seconds + more)

    def _progress(self) -> None:
        tell(
            PullProgress(
                image=self._image,
                bytes_done=self._bytes,
                bytes_total=self.bytes_total,
                layers_done=self._layers,
                layers_total=self.layers_total,
            )
        )


def tell(message: PullMessage) -> None:
    """One frame to the parent, which holds us where it does not read."""
    pipe_frames.write(1, message)


async def pull(request: PullRequest) -> Pulled:
    """Pull the image of `request`. Raises Fault."""
    wanted = reference.parse(request.reference)
    thing = f"image {wanted}"
    try:
        async with asyncio.timeout(request.stall_seconds) as stall:
            teller = ProgressTeller(request.reference, stall, request.stall_seconds, request.asked_at)
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(teller.watch())
                try:
                    return await _pull(request, wanted, teller)
                finally:
                    watch.cancel()
    except TimeoutError as error:
        cause = f"the pull made no progress for {request.stall_seconds:g} s"
        raise Fault(Kind.TIMEOUT, thing, cause, reason="PullStalled") from error
    except BaseExceptionGroup as group:
        raise _first(group, thing) from None


async def _pull(request: PullRequest, wanted: reference.Reference, teller: ProgressTeller) -> Pulled:
    async with registry_client.opened(wanted, request, teller) as source:
        chosen = await manifest_selection.choose(source, wanted, request.platform)
        found, decoded = chosen.manifest, chosen.decoded
        stack = layers.Stack(
            found.layers,
            decoded.diff_ids,
            present=request.present,
            work=request.work,
            listener=teller,
            shared=SharedLayers(request.shared, repository=wanted.name, room=request.room),
        )
        teller.begins(sum(found.layers[n].size for n in stack.missing), len(stack.missing))
        await stack.fetch(source)
    return Pulled(
        top_digest=chosen.top,
        manifest=chosen.content,
        config=chosen.config,
        config_digest=manifest.digest_of(chosen.config),
        chain=stack.chain,
    )


def _first(group: BaseExceptionGroup[BaseException], thing: str) -> Fault:
    """The first fault of several, told about the image."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError):
        error = fault_of(error, os.fsencode(error.filename or ""))
    if not isinstance(error, Fault):
        raise error
    if error.thing == thing:
        return error
    return Fault(error.kind, thing, f"{error.thing}: {error.cause}", error.mend, reason=error.reason)


async def run() -> bool:
    """Read the request, pull, and tell the last message; False where the parent wants no more."""
    loop = asyncio.get_running_loop()
    # Standard input itself stays: whatever took its number would be taken for it.
    reader, transport = await reading(handed_over(os.dup(sys.stdin.fileno()), "rb"))
    try:
        async with aclosing(child_processes.messages(reader, PullRequest)) as requests:
            request = await anext(requests)
        async with asyncio.TaskGroup() as group:
            work = group.create_task(_outcome(request))
            loop.add_signal_handler(signal.SIGTERM, work.cancel)
            watch = group.create_task(_orphaned(reader, work))
            work.add_done_callback(lambda _: watch.cancel())
        if work.cancelled():
            return False
        # Now: what the loop leaves behind may take its time.
        tell(work.result())
        return True
    finally:
        transport.close()


async def _outcome(request: PullRequest) -> PullMessage:
    try:
        return await pull(request)
    except Fault as fault:
        return Failure.of(fault)


async def _orphaned(reader: asyncio.StreamReader, work: asyncio.Task[PullMessage]) -> None:
    await reader.read()
    work.cancel()


def main() -> None:
    """Serve one request."""
    with suppress(BrokenPipeError):
        with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
            made = runner.run(run())
        collection.leave_all()
        if not made:
            sys.exit(1)


if __name__ == "__main__":
    main()
