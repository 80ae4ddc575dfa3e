"""The first process of a local instance.

Becomes a machine as the plan on its standard input says, tells its number to the controller, fetches the user-data
from the metadata service, runs it, and reaps what is left over, for ever. It has no tie to the controller's life.
Standard library only; started as `python -I -S`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import socket
import sys
import time

from controller.clouds.local.inside import filesystem
from hostkit import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from controller.clouds.local.inside.boot_plan import BootPlan

_USER_DATA = "/run/user-data"
_PLAN_LIMIT = 1 << 20
_MOST_DESCRIPTORS = 1 << 30


def main() -> None:
    """Read the plan, make the namespaces, fork the first process, tell its number, and leave."""
    # What the controller itself was handed (a lock, say) reaches here too: uvloop's programs inherit it.
    os.closerange(3, _MOST_DESCRIPTORS)
    control = socket.socket(fileno=0)
    plan: BootPlan = json.loads(_line(control))
    _join(plan["groups"])
    # The cgroup namespace begins at the instance's group; only then is the group left for its "init".
    syscalls.unshare(
        syscalls.CLONE_NEWNS
        | syscalls.CLONE_NEWUTS
        | syscalls.CLONE_NEWIPC
        | syscalls.CLONE_NEWNET
        | syscalls.CLONE_NEWPID
        | syscalls.CLONE_NEWCGROUP
    )
    _join([f"{group}/init" for group in plan["groups"]])
    for group, controllers in plan["delegate"].items():
        _write(f"{group}/cgroup.subtree_control", controllers)
    child = os.fork()
    if child:
        control.sendall(f"{child}\n".encode())
        os._exit(0)
    _machine(control, plan)


def _machine(control: socket.socket, plan: BootPlan) -> None:
    with contextlib.suppress(OSError):  # not allowed to everybody; only a preference
        _write("/proc/self/oom_score_adj", "-999")  # the machine goes last
    syscalls.sethostname(plan["hostname"])
    filesystem.enter(plan)
    control.recv(16)  # "go" once the network stands; end of file where the controller was killed meanwhile
    control.close()
    os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)  # noqa: FBT003 - descriptor 0 again, for children too
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD, signal.SIGPWR})
    script = _run(user_data(), plan["environment"])
    while True:
        if signal.sigwait({signal.SIGCHLD, signal.SIGPWR}) == signal.SIGPWR:
            _say("powered off")
            sys.exit(0)  # and with init everything in its namespace
        _reap(script)


def _run(text: bytes, environment: dict[str, str]) -> int:
    """Start the user-data as cloud-init does; 0 where there is none that can be run."""
    if text.startswith(b"\x1f\x8b"):
        import gzip  # noqa: PLC0415 - seldom needed, and slow to import

        text = gzip.decompress(text)
    if not text.startswith(b"#!"):
        _say("the user-data is no script: nothing is run")
        return 0
    descriptor = os.open(_USER_DATA, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
    os.write(descriptor, text)
    os.close(descriptor)
    child = os.fork()
    if child:
        return child
    os.setsid()
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    with contextlib.suppress(OSError):
        _write("/proc/self/oom_score_adj", "0")
    try:
        os.execve(_USER_DATA, [_USER_DATA], environment)  # noqa: S606 - this is what user-data is for
    except OSError as error:
        _say(f"the user-data cannot be run: {error}")
    os._exit(127)


def _reap(script: int) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        if pid == script:
            _say(f"the user-data ended with {os.waitstatus_to_exitcode(status)}")


def _join(groups: list[str]) -> None:
    for group in groups:
        _write(f"{group}/cgroup.procs", "0")


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    except OSError as error:
        raise OSError(error.errno, f"writing {text} to {path}: {errno.errorcode.get(error.errno or 0)}") from error
    finally:
        os.close(descriptor)


def _line(control: socket.socket) -> bytes:
    received = b""
    while not received.endswith(b"\n"):
        part = control.recv(65536)
        if not part or len(received) > _PLAN_LIMIT:
            sys.exit("init: no plan came")
        received += part
    return received


def _say(words: str) -> None:
    sys.stderr.write(f"{time.time():.3f} init: {words}\n")
    sys.stderr.flush()


_SERVICE = ("169.254.169.254", 80)
_FIRST_PAUSE = 0.02
_LONGEST_PAUSE = 1.0


def user_data() -> bytes:
    """The instance's user-data. Waits as long as it takes: the controller may be away for a while."""
    pause = _FIRST_PAUSE
    while True:
        try:
            token = _ask("PUT /latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 300")
            return _ask("GET /latest/user-data", f"X-aws-ec2-metadata-token: {token.decode()}")
        except OSError:
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)


def _ask(request: str, header: str) -> bytes:
    with socket.create_connection(_SERVICE, timeout=5) as connection:
        connection.sendall(
            f"{request} HTTP/1.1\r\nHost: 169.254.169.254\r\nConnection: close\r\n"
            f"Content-Length: 0\r\n{header}\r\n\r\n".encode()
        )
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise OSError(f"{request}: the metadata service answered {head[:80]!r}")
    return body
