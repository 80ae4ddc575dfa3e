"""The end of this machine, by its own hand: an instance that shuts down is one that costs nothing more."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
from pathlib import Path

from cellwire.faults import Fault
from hostkit import programs

log = logging.getLogger(__name__)
SYSTEMD = Path("/run/systemd/system")
# Of linux/reboot.h.
_POWER_OFF = 0x4321FEDC
_PATIENCE = 120.0


async def off(why: str) -> None:
    """Say why, and end this machine: by its service manager, else by the kernel. In a PID namespace of its own that is
    its init. Returns only where none of it works.
    """
    log.error("this machine powers itself off: %s", why)
    os.sync()
    if SYSTEMD.is_dir():
        try:
            await programs.run(["systemctl", "--no-block", "poweroff"], deadline=30.0)
            await asyncio.sleep(_PATIENCE)
        except Fault as fault:
            log.warning("not powered off by systemd: %s", fault)
    # Init of an instance of the local cloud takes this for the end; without the right to the next it is all there is.
    os.kill(1, signal.SIGPWR)
    await asyncio.sleep(5.0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.reboot(_POWER_OFF):
        log.error("not powered off by the kernel: %s", os.strerror(ctypes.get_errno()))
