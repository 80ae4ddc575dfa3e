"""Exec, attach and port-forward on the streams of a SPDY connection."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from cellwire.faults import Fault, Kind
from cellwire.rpc.carried import Piece
from cellwire.stream import portforward, remotecommand, spdy
from cellwire.stream.conversation import CREATION, while_connected
from cellwire.stream.forward import Dial, carry
from cellwire.stream.inbox import Inbox
from cellwire.stream.remotecommand import Outcome
from cellwire.stream.session import SessionRequest
from cellwire.stream.spdy_link import SpdyLink, Stream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SpdyLine:
    """The connection, as its watchdogs need it."""

    link: SpdyLink

    @property
    def moved(self) -> int:
        """Bytes so far."""
        return self.link.moved

    async def listen(self) -> None:
        """Read until the client has gone."""
        await self.link.listen()

    def hung_up(self) -> bool:
        """Whether the client has gone."""
        return self.link.pipe.hung_up()


class SpdyClient:
    """The client's end of an exec or attach: one stream for each direction, one for errors, one for window sizes."""

    def __init__(self, link: SpdyLink, wanted: SessionRequest, version: str) -> None:
        self.stdin = Inbox()
        self.resizes = Inbox()
        self._link = link
        self._wanted = wanted
        self._version = version
        self._streams: dict[str, Stream] = {}

    async def ready(self) -> None:
        """Wait until the client has opened every stream that goes with the request."""
        missing = set(remotecommand.expected(self._wanted, self._version))
        try:
            async with asyncio.timeout(CREATION):
                while missing:
                    stream = await self._link.accept()
                    name = stream.headers.get("streamtype", "")
                    if name not in missing:
                        log.info("a stream of type %.40r is read over: it is unknown or was not asked for", name)
                        stream.inbox.discard()
                        continue
                    missing.discard(name)
                    self._streams[name] = stream
        except TimeoutError:
            names = ", ".join(sorted(missing))
            cause = f"the client did not open its streams ({names}) within {CREATION:.0f} s"
            raise Fault(Kind.TIMEOUT, "the session", cause) from None
        finally:
            self._link.ignore_more()
        self.stdin = self._inbox(remotecommand.STDIN)
        self.resizes = self._inbox(remotecommand.RESIZE)

    def _inbox(self, name: str) -> Inbox:
        stream = self._streams.get(name)
        if stream is not None:
            return stream.inbox
        nothing = Inbox()
        nothing.end()
        return nothing

    async def stdout(self, data: Piece) -> None:
        """Standard output; dropped where the client did not ask for it."""
        stream = self._streams.get(remotecommand.STDOUT)
        if stream is not None:
            await stream.write(data)

    async def stderr(self, data: Piece) -> None:
        """Standard error; dropped where the client did not ask for it."""
        stream = self._streams.get(remotecommand.STDERR)
        if stream is not None:
            await stream.write(data)

    async def finish(self, outcome: Outcome) -> None:
        """End the output, then say how it went: a client takes what has not ended by then for cut off."""
        for name in (remotecommand.STDOUT, remotecommand.STDERR):
            if name in self._streams:
                await self._streams[name].finish()
        errors = self._streams.get(remotecommand.ERROR)
        if errors is not None:
            await errors.write(remotecommand.status(outcome, self._version))
            await errors.finish()
        await self._link.pipe.close()


class _SpdyEnds:
    """The client's end of one forwarded connection."""

    def __init__(self, data: Stream, error: Stream) -> None:
        self.inbox = data.inbox
        self._data = data
        self._error = error
        error.inbox.discard()  # clients say nothing there

    async def write(self, data: Piece) -> None:
        """Bytes from the pod."""
        await self._data.write(data)

    async def finish(self) -> None:
        """End both streams: a client waits for the end of errors before it closes its own connection."""
        await self._data.finish()
        await self._error.finish()

    async def fail(self, sentence: str) -> None:
        """Say why, then reset both, so that the client forgets them and its connection lives on."""
        await self._error.write(sentence.encode())
        await self._data.reset()
        await self._error.reset()

    async def drop(self) -> None:
        """End both streams for good."""
        await self._error.finish()
        await self._data.reset()
        await self._error.reset()


async def serve_forward(link: SpdyLink, dial: Dial) -> None:
    """Carry every pair of streams that the client opens, until it goes."""
    await while_connected(SpdyLine(link), _accept_pairs(link, dial))


async def _accept_pairs(link: SpdyLink, dial: Dial) -> None:
    clock = asyncio.get_running_loop().time
    pairing = portforward.Pairing(CREATION)
    halves: dict[int, Stream] = {}
    async with asyncio.TaskGroup() as pairs:
        while True:
            try:
                async with asyncio.timeout(CREATION / 10 if halves else None):
                    stream = await link.accept()
            except TimeoutError:
                stream = None
            for number in pairing.expired(clock()):
                await _give_up(halves.pop(number))
            if stream is None:
                continue
            halves[stream.number] = stream
            try:
                pair = pairing.opened(stream.number, stream.headers, clock())
            except portforward.BadStream as reason:
                log.info("a stream of a port-forward is refused: %s", reason)
                await halves.pop(stream.number).reset(spdy.Reset.REFUSED_STREAM)
                continue
            if pair is not None:
                ends = _SpdyEnds(halves.pop(pair.data), halves.pop(pair.error))
                pairs.create_task(carry(ends, dial, pair.port))


async def _give_up(half: Stream) -> None:
    """The other half did not come."""
    if half.headers.get("streamtype") == portforward.ERROR:
        await half.write(f"timed out waiting for the data stream for {CREATION:.0f} s".encode())
    await half.reset()
