"""An agent that is killed at a moment of the test's choice: `python -m tests.support.dying_agent ORDER serve …`.

ORDER is a file. Once it is there and holds a number n, the agent kills itself at its nth effect from then on: just
before it renames a file, as it does to make something durable, changes a mount or a namespace, or starts a program, and
just after it has started one. KILL_AT_ALL=1 adds each other change of a file. It is decided under a lock of the file:
who has taken the file away with `revoke` knows that nothing is decided by it any more.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from cellagent.__main__ import main
from cellagent.kernel import mounts, namespaces
from cellagent.runtime import sandbox
from hostkit import children

Asked = ParamSpec("Asked")
Result = TypeVar("Result")
CHANGES = frozenset({"os.rename", "os.remove", "subprocess.Popen"})
OTHERS = frozenset({"open", "os.chmod", "os.chown", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate"})
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Doom:
    """Counts effects, and kills the process at the one that was ordered."""

    def __init__(self, order: Path) -> None:
        self._order = str(order)
        self._left = 0
        self._counted = CHANGES | OTHERS if os.environ.get("KILL_AT_ALL") else CHANGES

    def effect(self) -> None:
        """One more effect is about to happen, or a program has just been started."""
        try:
            descriptor = os.open(self._order, os.O_RDONLY)
        except FileNotFoundError:
            self._left = 0
            return
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        ordered = int(os.read(descriptor, 20) or b"0")
        self._left = (self._left or ordered + 1) - 1 if os.fstat(descriptor).st_nlink else 0
        if self._left == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        os.close(descriptor)

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook: what Python is about to do."""
        if event in self._counted and (event != "open" or arguments[2] & WRITING):
            self.effect()


def revoke(order: Path) -> None:
    """Take the order back; whoever was to die by it has begun to when this returns."""
    with order.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        order.unlink()


def doomed(order: Path) -> None:
    """Have this process die as ordered."""
    doom = Doom(order)
    sys.addaudithook(doom.heard)
    # What has no event of its own.
    mounts.mount = _before(doom, mounts.mount)
    mounts.unmount = _before(doom, mounts.unmount)
    namespaces.leave = _before(doom, namespaces.leave)
    children.spawn = _after(doom, children.spawn)


def _before(doom: Doom, function: Callable[Asked, Result]) -> Callable[Asked, Result]:
    def called(*arguments: Asked.args, **more: Asked.kwargs) -> Result:
        doom.effect()
        return function(*arguments, **more)

    return called


def _after(doom: Doom, start: Callable[Asked, Awaitable[Result]]) -> Callable[Asked, Coroutine[Any, Any, Result]]:
    async def started(*arguments: Asked.args, **more: Asked.kwargs) -> Result:
        result = await start(*arguments, **more)
        doom.effect()
        return result

    return started


if __name__ == "__main__":
    sandbox.LINGER_SECONDS = 0  # each end is whole before the next step
    doomed(Path(sys.argv[1]))
    sys.exit(main(sys.argv[2:]))
