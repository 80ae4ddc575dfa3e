"""The one door to other programs for the local cloud: `ip`, `nsenter`, `nft`, `rm`, and the instances' first process.

A program gets a clean environment, a deadline and a session of its own; what it printed is part of the fault.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from cellwire.faults import Fault, Kind

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C"}


class Completed(NamedTuple):
    """How a program ended, and what it said."""

    status: int
    stdout: bytes
    stderr: bytes


async def run(argv: Sequence[str], *, stdin: bytes = b"", deadline: float = 10.0) -> Completed:
    """Run to the end. Raises Fault: UNSUPPORTED where the program is missing, TIMEOUT after `deadline` seconds."""
    with _file(stdin) as given:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=given,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_ENVIRONMENT,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise Fault(Kind.UNSUPPORTED, argv[0], "is not installed", "install its Debian package") from error
    try:
        async with asyncio.timeout(deadline):
            stdout, stderr = await process.communicate()
    except TimeoutError as error:
        raise Fault(Kind.TIMEOUT, " ".join(argv), f"did not end within {deadline:g} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Completed(process.returncode or 0, stdout, stderr)


async def check(argv: Sequence[str], *, stdin: bytes = b"", deadline: float = 10.0) -> bytes:
    """Run to the end and give its output; a bad end is Fault BROKEN with the program's own words."""
    done = await run(argv, stdin=stdin, deadline=deadline)
    if done.status:
        words = done.stderr.decode(errors="replace").strip() or f"ended with status {done.status}"
        raise Fault(Kind.BROKEN, " ".join(argv), words)
    return done.stdout


async def start(
    argv: Sequence[str], *, stdin: int, console: int, environment: Mapping[str, str] = _ENVIRONMENT
) -> asyncio.subprocess.Process:
    """Start what may outlive us: no pipes of ours but the given descriptors."""
    return await asyncio.create_subprocess_exec(
        *argv, stdin=stdin, stdout=console, stderr=console, env=dict(environment), start_new_session=True
    )


@contextmanager
def _file(content: bytes) -> Generator[int]:
    """The content as a file in memory: a pipe breaks, under uvloop with a RuntimeError, when nobody reads it."""
    descriptor = os.memfd_create("stdin", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
