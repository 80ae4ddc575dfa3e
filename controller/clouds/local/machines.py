"""Machines out of namespaces: boots one from its record, finds it again, ends it and everything of it.

Which instances there should be is not decided here. `boot` leaves nothing behind when it fails or is cancelled; `end`
may be repeated, also for what a killed controller left.
"""

from __future__ import annotations

import asyncio
import compileall
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Coroutine, Sequence
from pathlib import Path

import msgspec
import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.local import identity_documents, instance_cgroups, metadata, network, router
from controller.clouds.local.inside.boot_plan import BootPlan
from controller.clouds.local.inside.filesystem import ON_DISK
from controller.clouds.local.instance_records import Record
from controller.clouds.local.instance_types import architecture
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.metadata_server import MetadataServers
from controller.clouds.local.shared_layers import LayerShare
from controller.model.names import InstanceId
from hostkit import mountinfo, pids, programs

log = structlog.get_logger()
_AGENT_PACKAGES = ("cellagent", "cellwire", "hostkit")
_BOOT_SECONDS = 20.0  # 20 at once on two busy cores need about 2
_END_SECONDS = 15.0
_REPO = str(Path(__file__).resolve().parents[3])
_NOT_DISKS = frozenset(
    # one string a line would be a page
    "autofs binfmt_misc bpf cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs fuse.lxcfs fusectl hugetlbfs "  # noqa: SIM905
    "mqueue nsfs overlay proc pstore ramfs rpc_pipefs securityfs selinuxfs squashfs sysfs tmpfs tracefs".split()
)
_INIT = f"import sys; sys.path.insert(0, {_REPO!r}); from controller.clouds.local.inside.init import main; main()"


class Machines:
    """The running machines of one local cloud."""

    def __init__(
        self, settings: LocalSettings, signer: identity_documents.Signer, on_death: Callable[[InstanceId], None]
    ) -> None:
        self._settings = settings
        self._signer = signer
        self._on_death = on_death
        self._groups = instance_cgroups.Groups(settings.cluster, settings.cgroup_parent)
        self._servers = MetadataServers()
        self.router = router.Router(settings)
        self.layers = LayerShare(settings, self._groups)
        self._watched: dict[InstanceId, int] = {}
        self._credits: dict[InstanceId, tuple[asyncio.TimerHandle, int]] = {}
        self._trash: asyncio.Queue[Path] = asyncio.Queue()

    async def prepare(self) -> None:
        """Make what all machines share."""
        for folder in ("instances", "trash"):
            (self._settings.root / folder).mkdir(parents=True, exist_ok=True, mode=0o711)
        for target in ON_DISK:
            Path(target).mkdir(parents=True, exist_ok=True)
        await asyncio.to_thread(compile_agent, self._settings.python_path)
        for left in (self._settings.root / "trash").iterdir():
            self._trash.put_nowait(left)
        self.layers.prepare()
        await self.router.prepare()  # first, because it refuses what another cluster has
        try:
            self._groups.prepare()
            await self.layers.clear()
        except Fault:
            await self.withdraw()
            raise

    async def boot(self, record: Record, save: Callable[[Record], Record]) -> Record:
        """Boot the machine; `save` is called once its process is known and before its user-data runs."""
        try:
            async with asyncio.timeout(_BOOT_SECONDS):
                return await self._boot(record, save)
        except TimeoutError as error:
            await self.end(record)
            raise Fault(Kind.TIMEOUT, f"instance {record.id}", f"did not boot within {_BOOT_SECONDS:g} s") from error
        except OSError as error:
            await self.end(record)
            raise Fault(Kind.BROKEN, f"instance {record.id}", str(error)) from error
        except BaseException:
            await self.end(record)
            raise

    async def _boot(self, record: Record, save: Callable[[Record], Record]) -> Record:
        folder = self._settings.root / "instances" / record.id
        (folder / "root").mkdir(parents=True)
        (folder / "disk").mkdir()
        self._groups.create(record.id, memory_mib=record.memory_mib)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(0)
            pid = await self._beside(self.router.lay(record), self._first_process(record, folder, ours, theirs))
            record = msgspec.structs.replace(record, pid=pid, pid_started=pids.started(pid), boot=pids.boot_id())
            self.router.hand_over(record)
            await network.configure(self._settings, record)
            await self._serve(record)
            save(record)
            await asyncio.get_running_loop().sock_sendall(ours, b"go")
        self._watch(record)
        self._size(record)
        return record

    async def _beside(self, other: Coroutine[None, None, None], work: Coroutine[None, None, int]) -> int:
        """The result of `work`, once `other` is done too."""
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(other)
                first = both.create_task(work)
        except* (Fault, OSError) as several:
            raise several.exceptions[0] from None
        return first.result()

    async def _first_process(self, record: Record, folder: Path, ours: socket.socket, theirs: socket.socket) -> int:
        """Start it, send it the plan, and learn its number."""
        loop = asyncio.get_running_loop()
        console = os.open(folder / "console.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            argv = [sys.executable, "-I", "-S", "-c", _INIT]
            starter = await programs.launch(argv, stdin=theirs.fileno(), stdout=console, stderr=console)
        finally:
            os.close(console)
        try:
            theirs.close()
            await loop.sock_sendall(ours, msgspec.json.encode(self._plan(record, folder)) + b"\n")
            said = await loop.sock_recv(ours, 32)
            await starter.wait()
        finally:
            if starter.returncode is None:  # given up: it must not enter its groups while they are being removed
                starter.kill()
                await starter.wait()
        if not said.endswith(b"\n"):
            words = (folder / "console.log").read_text(errors="replace").strip()
            raise Fault(Kind.BROKEN, f"instance {record.id}", f"did not start: {words[-1000:]}")
        return int(said)

    def alive(self, record: Record) -> bool:
        """Whether the machine's first process is still running, whoever booted it."""
        same = record.boot == pids.boot_id() and pids.started(record.pid) == record.pid_started
        return bool(record.pid_started) and same

    async def resume(self, record: Record) -> None:
        """Serve and watch a machine that a former controller booted. Raises Fault BROKEN where it cannot be entered."""
        if not await self.router.resume(record):
            # The router went with the mount namespace of the controller that had made it.
            await self.router.lay(record)
            self.router.hand_over(record)
            await network.configure(self._settings, record)
        await self._serve(record)
        self._watch(record)
        self._size(record)

    async def end(self, record: Record) -> None:
        """End the machine and remove everything of it; its disk is removed soon after. Raises Fault TIMEOUT."""
        try:
            async with asyncio.timeout(_END_SECONDS):
                await self._end(record)
        except TimeoutError as error:
            held = self._groups.pids(record.id)
            raise Fault(
                Kind.TIMEOUT,
                f"instance {record.id}",
                f"did not end within {_END_SECONDS:g} s: processes {sorted(held)} remain" if held else "did not end",
            ) from error

    async def _end(self, record: Record) -> None:
        if credit := self._credits.pop(record.id, None):
            credit[0].cancel()
        self._unwatch(record.id)
        if self.alive(record):
            with contextlib.suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGKILL)  # takes its whole PID namespace along
        await instance_cgroups.until_none(lambda: self._groups.kill(record.id))
        await self._servers.close(record.id)
        await self.router.detach(record)
        await instance_cgroups.until_none(lambda: self._groups.remove(record.id))
        folder = self._settings.root / "instances" / record.id
        if folder.exists():
            self._trash.put_nowait(folder.rename(self._settings.root / "trash" / f"{record.id}-{time.time_ns()}"))

    def drop_layers(self, used: Collection[str]) -> None:
        """Remove layers that are shared by none of these generations any more, and by no instance to come."""
        try:
            for folder in self.layers.unused(used):
                self._trash.put_nowait(folder.rename(self._settings.root / "trash" / f"layers-{time.time_ns()}"))
        except OSError as error:  # the end of the next instance asks again
            log.warning("shared layers that nobody needs stay for now", cause=str(error))

    async def empty_trash(self) -> None:
        """Remove the disks of ended machines, one after another, for ever."""
        while True:
            folder = await self._trash.get()
            try:
                await programs.run(["rm", "-rf", "--one-file-system", str(folder)], deadline=600)
            except (Fault, OSError) as error:  # the next start removes it
                log.warning("the disk of an ended machine is not removed", folder=str(folder), cause=str(error))
            finally:
                self._trash.task_done()

    async def emptied(self) -> None:
        """Wait until no disk of an ended machine is left."""
        await self._trash.join()

    async def close(self) -> None:
        """Let go of the machines; they run on."""
        for instance in tuple(self._watched):
            self._unwatch(instance)
        for instance in tuple(self._credits):
            self._credit_over(instance)
        await self._servers.close_all()

    async def withdraw(self) -> None:
        """Remove what machines share; only where there is none left."""
        await router.remove(self._settings)
        self._groups.remove()

    def strangers(self, known: set[str]) -> set[str]:
        """Machines that have left something and of which there is no record."""
        folders = {entry.name for entry in (self._settings.root / "instances").iterdir()}
        return (folders | self._groups.instances()) - known

    async def _serve(self, record: Record) -> None:
        content = identity_documents.document(self._settings, record, architecture(os.uname().machine))
        known = metadata.facts(
            self._settings,
            record,
            document=content.decode(),
            signature=self._signer.sign(content),
            key=self._signer.session_key(record.id),
        )
        await self._servers.serve(record.id, known, network.metadata_socket(record.pid))

    def _watch(self, record: Record) -> None:
        descriptor = os.pidfd_open(record.pid)
        self._watched[record.id] = descriptor
        asyncio.get_running_loop().add_reader(descriptor, self._died, record.id)

    def _died(self, instance: InstanceId) -> None:
        self._unwatch(instance)
        self._on_death(instance)

    def _unwatch(self, instance: InstanceId) -> None:
        descriptor = self._watched.pop(instance, None)
        if descriptor is not None:
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)

    def _size(self, record: Record) -> None:
        """Enforce the CPU size once the launch credits are used up."""
        left = record.launched_at + self._settings.launch_credit_seconds - time.time()
        if left <= 0:
            self._groups.limit_cpu(record.id, record.cpu_millis)
            return

        timer = asyncio.get_running_loop().call_later(left, self._credit_over, record.id)
        self._credits[record.id] = (timer, record.cpu_millis)

    def _credit_over(self, instance: InstanceId) -> None:
        timer, cpu_millis = self._credits.pop(instance)
        timer.cancel()
        self._groups.limit_cpu(instance, cpu_millis)

    def _plan(self, record: Record, folder: Path) -> BootPlan:
        settings = self._settings
        environment = {
            "PATH": ":".join((*settings.path, programs.SEARCH_PATH)),
            "HOME": "/root",
            "LANG": "C.UTF-8",
            **({"PYTHONPATH": ":".join(settings.python_path)} if settings.python_path else {}),
            **settings.environment,
        }
        return {
            "groups": [str(group) for group in self._groups.of(record.id)],
            "delegate": self._groups.delegation(record.id),
            "cgroup_mounts": self._groups.mounts(),
            "root": str(folder / "root"),
            "disk": str(folder / "disk"),
            "shared": str(self.layers.folder(record.shared)) if record.shared else "",
            "disks": [mount.point for mount in mountinfo.own() if mount.kind not in _NOT_DISKS],
            "visible": self._visible(),
            "files": self._files(record),
            "hostname": record.hostname,
            "environment": environment,
        }

    def _visible(self) -> list[str]:
        settings = self._settings
        named = (*settings.path, *settings.python_path, *settings.visible, sys.prefix, sys.base_prefix, _REPO)
        return sorted({str(Path(path).absolute()) for path in named})  # a folder before what is in it

    def _files(self, record: Record) -> dict[str, str]:
        servers = "".join(f"nameserver {server}\n" for server in self._settings.nameservers)
        with contextlib.suppress(FileNotFoundError):
            servers = servers or Path("/etc/resolv.conf").read_text()
        return {
            "hostname": f"{record.hostname}\n",
            "hosts": f"127.0.0.1 localhost\n::1 localhost ip6-localhost\n{record.address} {record.hostname}\n",
            "resolv.conf": servers,
            "machine-id": f"{record.id.removeprefix('i-'):0>32}\n",
        }


def compile_agent(folders: Sequence[str]) -> None:
    """Compile the agent's packages in these folders as far as it is not done: slow the first time.

    Instances see this machine's disks read-only, so each would compile them anew at its start and at every pull.
    Nobody fails for want of it. Where Python is told to write no bytecode none is written.
    """
    if sys.dont_write_bytecode:
        return
    for package in (Path(folder) / name for folder in folders for name in _AGENT_PACKAGES):
        if package.is_dir():
            compileall.compile_dir(package, quiet=2)
