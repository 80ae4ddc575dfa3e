"""A systemd as the first process of namespaces of its own, over this machine's files: what it writes is gone with it.

The network is the caller's. Whoever is asked (`systemctl`, say) is asked by `Systemd.run`.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from hostkit import cgroup_files, programs

PROGRAM = Path("/lib/systemd/systemd")
TARGET = "ready.target"
DEADLINE_SECONDS = 180.0
# In new namespaces, before systemd: $1 a folder of files to put over this machine's, $2 the name of its control groups.
START = r"""
set -e
mount --make-rprivate /
at=/run/systemd-of-a-test; mkdir -p $at; mount -t tmpfs tmpfs $at; mkdir $at/up $at/work $at/root
mount -t overlay overlay -o lowerdir=/,upperdir=$at/up,workdir=$at/work $at/root
root=$at/root
mount -t proc proc $root/proc
mount -t sysfs sysfs $root/sys
mount -t tmpfs tmpfs $root/dev
for name in null zero full random urandom tty kmsg; do
  touch $root/dev/$name; mount --bind /dev/$name $root/dev/$name
done
mkdir $root/dev/pts $root/dev/shm
mount -t devpts devpts $root/dev/pts -o newinstance,ptmxmode=0666
ln -s pts/ptmx $root/dev/ptmx
for name in dev/shm run tmp; do mount -t tmpfs tmpfs $root/$name; done
mount -t tmpfs tmpfs $root/sys/fs/cgroup
for each in /sys/fs/cgroup/*; do
  mountpoint -q $each || continue
  mkdir -p $each/$2 $root$each
  # Version 1 gives a new group no processors.
  for name in cpuset.cpus cpuset.mems; do [ ! -e $each/$name ] || cat $each/$name >$each/$2/$name; done
  mount --bind $each/$2 $root$each
done
rm -rf $root/etc/systemd/system; mkdir $root/etc/systemd/system
for each in $3; do mkdir -p $root$each; mount --rbind $each $root$each; done
cp -a "$1"/. $root/
# The network is there from the beginning, the kernel is this machine's, and its files need no preparation.
for each in networking.service systemd-networkd.service systemd-networkd-wait-online.service \
    ifupdown-wait-online.service $(cd $root/lib/systemd/system/sysinit.target.wants; ls | grep -v journald); do
  ln -sf /dev/null $root/etc/systemd/system/$each
done
mkdir -p $root/old; cd $root; pivot_root . old; umount -l /old; mount --make-rshared /
exec env -i container=lxc PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --system --unit=ready.target --show-status=no --log-target=journal
"""


@dataclass(frozen=True, slots=True)
class Systemd:
    """A running systemd, by the number of its first process."""

    pid: int

    async def run(self, *argv: str) -> tuple[int, str]:
        """Run a program beside it; how it ended, and all that it said."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", "--uts", "--ipc", "--root", "--wd"]
        done = await programs.run([*enter, *argv], deadline=DEADLINE_SECONDS)
        return done.returncode, (done.stdout + done.stderr).decode()


@asynccontextmanager
async def running_systemd(files: Path, shown: tuple[str, ...]) -> AsyncGenerator[Systemd]:
    """systemd with these files over this machine's; `shown` are folders of /tmp and the like that it must see."""
    name = f"chinampa-systemd-{secrets.token_hex(3)}"
    argv = ["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--kill-child",
            "sh", "-c", START, "sh", str(files), name, " ".join(shown)]  # fmt: skip
    process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL)
    try:
        yield Systemd(await _first(process))
    finally:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)  # and so its child, and all that is below
        await process.wait()
        tops = [*Path("/sys/fs/cgroup").glob(f"*/{name}"), *Path("/sys/fs/cgroup").glob(name)]
        while cgroup_files.kill(tops):
            await asyncio.sleep(0.1)
        cgroup_files.remove(tops)


async def _first(process: asyncio.subprocess.Process) -> int:
    """The number of systemd's process, once it is systemd and answers."""
    while process.returncode is None:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        with suppress(OSError, IndexError):
            if Path(f"/proc/{children[0]}/comm").read_text().strip() == "systemd":
                code, _ = await Systemd(int(children[0])).run("systemctl", "is-active", TARGET)
                if code == 0:
                    return int(children[0])
        await asyncio.sleep(0.2)
    raise AssertionError("systemd did not start")
