"""A network and mounts of a test process' own, so that bridges, subnets, ports and mounts of two of them never meet."""

from __future__ import annotations

import os

from cellagent.kernel import mounts, namespaces, threads


def leave_the_machines() -> None:
    """Give this process, and all that it starts from now on, a loopback alone and a private table of mounts.

    Without the rights for it, the tests that need them do not run either.
    """
    if os.geteuid() != 0:
        return
    threads.leave("net", "mnt")
    mounts.mount("none", "/", flags=mounts.MS_REC | mounts.MS_PRIVATE)
    namespaces.loopback_up()
