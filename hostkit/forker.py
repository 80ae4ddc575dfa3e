"""Process to fork others from, begun while its parent has one thread, no event loop and little in its memory.

A program in Python spends a tenth of a second of a processor and more on its imports. What is forked has those of the
process that began the forker, and those of what was asked for before. Else it begins as a program does: with the
standard streams that it is given and no other descriptor, in a session of its own, under a name of its own; of what
that process has learnt since it knows nothing. `forked` asks. A forker that has nothing to do for a minute ends.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

from hostkit import syscalls

LONGEST = 4096
# It has 20 MiB to itself, for which small machines have better use; images are pulled soon after a start, or seldom.
KEPT_SECONDS = 60.0
_NO_MORE = 1 << 30
# The number under which who may ask has whom to ask.
_ASKING = 3
asking: list[socket.socket] = []
"""Whom this process can ask, if anybody."""


@contextmanager
def beside() -> Generator[None]:
    """Have a forker, unless this process was forked by one that it can ask. Before there is a loop or a thread."""
    if asking:
        yield
        return
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()  # or each would say what waits in it
    if (parent := os.fork()) == 0:
        # Whose parent has gone is reaped by the machine's first process, whenever it ends.
        if os.fork() == 0:
            _alone(theirs)
        os._exit(0)
    theirs.close()
    os.waitpid(parent, 0)
    ours.setblocking(False)  # noqa: FBT003
    asking.append(ours)
    try:
        yield
    finally:
        asking.remove(ours)
        ours.shutdown(socket.SHUT_WR)
        ours.setblocking(True)  # noqa: FBT003
        with ours, contextlib.suppress(ConnectionResetError):
            ours.recv(1)  # nothing, once it has ended


def _alone(control: socket.socket) -> NoReturn:
    code = 1
    try:
        os.setsid()  # what a terminal tells its programs is not for this one
        # Nobody is to wait for what this says, or for this to listen.
        os.dup2(2, 0)
        os.dup2(2, 1)
        os.dup2(control.fileno(), _ASKING)
        os.closerange(_ASKING + 1, _NO_MORE)
        if control.fileno() != _ASKING:
            control.detach()
            control = socket.socket(fileno=_ASKING)
        syscalls.rename_process("forker")
        # What is here is never freed: forks share it instead of each copying the pages of its counts.
        gc.disable()
        gc.freeze()
        _Forker(control).serve()
        code = 0
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise
    finally:
        os._exit(code)


class _Forker:
    """The one process that forks."""

    def __init__(self, control: socket.socket) -> None:
        self._poll = select.poll()
        self._first = control
        self._controls = {control.fileno(): control}
        self._running: dict[int, tuple[int, socket.socket]] = {}
        self._poll.register(control, select.POLLIN)

    def serve(self) -> None:
        """Until the process that began this one is over, or nothing was to be done for long."""
        while events := self._poll.poll(None if self._running else KEPT_SECONDS * 1000):
            for descriptor, _ in events:
                if descriptor in self._running:
                    self._ended(descriptor)
                elif not self._asked(self._controls[descriptor]):
                    return

    def _asked(self, control: socket.socket) -> bool:
        """False where nobody is left to ask."""
        message, descriptors, _, _ = socket.recv_fds(control, LONGEST, 3)
        if not message:
            self._poll.unregister(control)
            del self._controls[control.fileno()]
            control.close()
            return control is not self._first
        module, asks = message.decode().split(" ")
        try:
            importlib.import_module(module)
            gc.freeze()
            self._fork(module, *descriptors, asks=asks == "asks")
        except Exception as error:  # noqa: BLE001  who asked sees that nothing has begun
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            for each in descriptors:
                os.close(each)
        return True

    def _fork(self, module: str, stdin: int, stdout: int, told: int, *, asks: bool) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            if (pid := os.fork()) == 0:
                _begin(module, (stdin, stdout), told, theirs if asks else None)
        ended = os.pidfd_open(pid)
        self._running[ended] = (pid, socket.socket(fileno=os.dup(told)))
        self._controls[ours.fileno()] = ours
        for each in (ended, ours.fileno()):
            self._poll.register(each, select.POLLIN)

    def _ended(self, descriptor: int) -> None:
        pid, told = self._running.pop(descriptor)
        self._poll.unregister(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        with told, contextlib.suppress(OSError):  # who asked may have gone
            told.send(b"%d" % os.waitstatus_to_exitcode(status))


def _begin(module: str, streams: tuple[int, int], told: int, to_ask: socket.socket | None) -> NoReturn:
    code = 1
    try:
        os.setsid()
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        teller, own = socket.socket(fileno=told), os.pidfd_open(os.getpid())
        socket.send_fds(teller, [b"%d" % os.getpid()], [own])
        teller.detach()
        if to_ask is not None:
            os.dup2(to_ask.fileno(), _ASKING)
            asking.append(socket.socket(fileno=_ASKING))
        os.closerange(_ASKING + len(asking), _NO_MORE)
        syscalls.rename_process(f"python -m {module}")
        sys.argv = [module]
        gc.enable()
        sys.modules[module].main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise
    finally:
        sys.stderr.flush()
        os._exit(code)
