"""Exec and attach between a client, in whatever dialect, and a session, wherever it runs.

Three things go on at once: the client is listened to, its input is carried to the session, the session's output is
carried to the client. The one ends with the other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from cellwire.faults import Fault
from cellwire.rpc.carried import Piece
from cellwire.stream.inbox import Aborted, Inbox
from cellwire.stream.remotecommand import CommandEnded, Failed, Outcome, WindowSizes
from cellwire.stream.session import Exited, Session, Stderr, Stdout

log = logging.getLogger(__name__)

IDLE = 4 * 3600.0
"""Seconds without a byte in either direction after which a session is closed, as a kubelet does by default."""
CREATION = 30.0
"""Seconds in which a client must have opened the streams of a session, or both of a pair."""
WATCH = 10.0
"""Seconds between looks at whether a client is still there and not idle."""


class ClientEnd(Protocol):
    """The client's end of an exec or attach."""

    stdin: Inbox
    resizes: Inbox

    async def ready(self) -> None:
        """Wait until the session may start. Raises Fault TIMEOUT."""
        ...

    async def stdout(self, data: Piece) -> None:
        """Standard output, or the terminal's."""
        ...

    async def stderr(self, data: Piece) -> None:
        """Standard error."""
        ...

    async def finish(self, outcome: Outcome) -> None:
        """Say how it ended, and part."""
        ...


class ClientConnection(Protocol):
    """The connection to a client."""

    @property
    def moved(self) -> int:
        """Bytes so far, in both directions."""
        ...

    async def listen(self) -> None:
        """Read until the client has gone."""
        ...

    def hung_up(self) -> bool:
        """Whether the client has gone, known even while it is not read from."""
        ...


class _Gone(Exception):
    """The client left."""


async def while_connected(line: ClientConnection, *works: Coroutine[Any, Any, None]) -> None:
    """Run `works` for as long as the client is there; nothing of them is left afterwards."""
    try:
        async with asyncio.TaskGroup() as tasks:
            for work in (*works, _watch(line)):
                tasks.create_task(work)
            await line.listen()
            raise _Gone
    except* _Gone:
        pass


async def _watch(line: ClientConnection) -> None:
    """Notice a client that left while it was not read from, and one that has been idle for too long."""
    clock = asyncio.get_running_loop().time
    moved, since = line.moved, clock()
    while not line.hung_up():
        await asyncio.sleep(WATCH)
        if line.moved != moved:
            moved, since = line.moved, clock()
        elif clock() - since >= IDLE:
            log.info("a streaming connection is closed: nothing was sent for %.0f s", IDLE)
            break
    raise _Gone


async def converse(
    client: ClientEnd, open_session: Callable[[], AbstractAsyncContextManager[Session]], *, attach: bool
) -> None:
    """Hold one session with one client."""
    try:
        await client.ready()
        async with open_session() as session:
            outcome = await _exchange(client, session, attach=attach)
    except Fault as fault:
        doing = "attaching to container" if attach else "executing command in container"
        outcome = Failed(f"error {doing}: {fault}")
    except Exception:
        log.exception("a session failed")
        outcome = Failed("an internal error; the log has the details")
    client.stdin.discard()
    client.resizes.discard()
    await client.finish(outcome)


async def _exchange(client: ClientEnd, session: Session, *, attach: bool) -> Outcome:
    async with asyncio.TaskGroup() as tasks:
        feeding = tasks.create_task(_feed(client.stdin, session))
        resizing = tasks.create_task(_resize(client.resizes, session))
        try:
            code = await _show(client, session)
        except Fault as fault:
            return Failed(str(fault))
        finally:
            feeding.cancel()
            resizing.cancel()
    return CommandEnded(0 if attach else code)


async def _show(client: ClientEnd, session: Session) -> int:
    async for said in session.output():
        match said:
            case Stdout(data):
                await client.stdout(data)
            case Stderr(data):
                await client.stderr(data)
            case Exited(code):
                return code
    return 0


async def _feed(stdin: Inbox, session: Session) -> None:
    """Carry standard input. A session that broke says so at its output; its input just ends."""
    try:
        try:
            while data := await stdin.take():
                await session.write_stdin(data)
        except Aborted:
            pass
        await session.close_stdin()
    except Fault as fault:
        stdin.discard()
        log.debug("input of a session ended: %s", fault)


async def _resize(resizes: Inbox, session: Session) -> None:
    sizes = WindowSizes()
    try:
        while data := await resizes.take():
            for width, height in sizes.receive(data):
                await session.resize(width, height)
    except (Aborted, Fault):
        resizes.discard()
