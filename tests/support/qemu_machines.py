"""Instances that are virtual machines: QEMU in software boots a raw disk, on a bridge with DHCP and a metadata service.

Stands where `controller.clouds.local.machines.Machines` stands, for the tests' EC2.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from controller.clouds.local import addresses, identity_documents, metadata
from controller.clouds.local.instance_records import Record
from controller.clouds.local.local_settings import LocalSettings
from controller.model.names import InstanceId
from hostkit import programs

SERVICE = "169.254.169.254"
_DATED = re.compile(r"^/20\d\d-\d\d-\d\d/")
FIRMWARE = Path("/usr/share/ovmf/OVMF.fd")
FIRMWARE_ARM64 = Path("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd")


@dataclass(frozen=True)
class Hardware:
    """What is booted and how: `uefi` by the firmware instead of the BIOS, as machines of arm64 always are; `kernel` and
    `first_stage` where the disk has no boot loader.
    """

    disk: Path
    memory_mib: int = 512
    cpus: int = 2
    disk_gib: int = 4
    uefi: bool = False
    kernel: Path | None = None
    first_stage: Path | None = None
    architecture: str = "amd64"

    @property
    def machine(self) -> tuple[str, ...]:
        """The emulator's program and what kind of machine it is, with the serial line "console"."""
        if self.architecture == "arm64":
            # As on EC2, where the serial line is no part of the board.
            kind = ("-cpu", "cortex-a72", "-machine", "virt", "-device", "pci-serial,chardev=console")
            return "qemu-system-aarch64", *kind, "-bios", str(FIRMWARE_ARM64)
        firmware = ("-bios", str(FIRMWARE)) if self.uefi else ()
        return "qemu-system-x86_64", "-cpu", "max", "-machine", "q35", "-serial", "chardev:console", *firmware


@dataclass
class _Machine:
    process: asyncio.subprocess.Process
    watching: asyncio.Task[None]


def lacking() -> str:
    """What this machine lacks for it; "" where it has all."""
    for program, package in (("qemu-system-x86_64", "qemu-system-x86"), ("qemu-img", "qemu-utils")):
        if shutil.which(program) is None:
            return f"no {program}: install {package}"
    return "" if shutil.which("dnsmasq") else "no dnsmasq: install dnsmasq-base"


class QemuMachines:
    """See the module. One bridge for all."""

    def __init__(
        self,
        hardware: Hardware,
        settings: LocalSettings,
        signer: identity_documents.Signer,
        died: Callable[[InstanceId], None],
    ) -> None:
        self._hardware = hardware
        self._settings = settings
        self._signer = signer
        self._died = died
        self._machines: dict[InstanceId, _Machine] = {}
        self._facts: dict[str, metadata.InstanceMetadata] = {}
        self._dhcp: asyncio.subprocess.Process | None = None
        self._service: web.AppRunner | None = None
        self._tasks = asyncio.TaskGroup()

    @property
    def folder(self) -> Path:
        """Where consoles and disks are."""
        return self._settings.root / "machines"

    def console(self, instance: str) -> str:
        """All that a machine has written to its serial line."""
        return (self.folder / f"{instance}.console").read_text(errors="replace")

    async def prepare(self) -> None:
        """Make bridge, DHCP and metadata service."""
        await self._tasks.__aenter__()
        (self.folder / "hosts").mkdir(parents=True, exist_ok=True)
        bridge, subnet = self._settings.bridge, self._settings.subnet
        gateway = addresses.gateway(subnet)
        await programs.run(
            ["ip", "-batch", "-"],
            stdin=(
                f"link add {bridge} type bridge\n"
                f"address add {gateway}/{addresses.length(subnet)} dev {bridge}\n"
                f"address add {SERVICE}/32 dev {bridge}\nlink set {bridge} up\n"
            ).encode(),
        )
        self._dhcp = await _started(
            self.folder / "dnsmasq.log",
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--bind-interfaces",
            f"--interface={bridge}", f"--dhcp-range={gateway},static", "--leasefile-ro", "--log-facility=-",
            f"--dhcp-hostsdir={self.folder / 'hosts'}", f"--dhcp-option=option:dns-server,{gateway}",
            f"--pid-file={self.folder / 'dnsmasq.pid'}", "--user=root",
        )  # fmt: skip
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._service = web.AppRunner(application, access_log=None)
        await self._service.setup()
        await web.TCPSite(self._service, SERVICE, 80).start()

    async def boot(self, record: Record, running: Callable[[Record], Record]) -> Record:
        """Switch a machine on."""
        content = identity_documents.document(self._settings, record, self._hardware.architecture)
        self._facts[record.address] = metadata.facts(
            self._settings,
            record,
            document=content.decode(),
            signature=self._signer.sign(content),
            key=self._signer.session_key(record.id),
        )
        (self.folder / "hosts" / record.id).write_text(f"{record.mac},{record.address},{record.hostname}\n")
        disk, tap = self.folder / f"{record.id}.qcow2", addresses.veth(record.id)
        size = f"{self._hardware.disk_gib}G"
        base = self._hardware.disk.resolve()
        await programs.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", "raw", str(disk), size])
        await programs.run(["ip", "tuntap", "add", "mode", "tap", "name", tap])
        await programs.run(["ip", "link", "set", tap, "master", self._settings.bridge, "up"])
        process = await _started(self.folder / f"{record.id}.qemu", *self._command(record, disk, tap))
        self._machines[record.id] = _Machine(process, self._tasks.create_task(self._watch(record.id, process)))
        return running(record)

    async def end(self, record: Record) -> None:
        """Pull the plug, as SkipOsShutdown does: nothing inside hears of it."""
        machine = self._machines.pop(record.id, None)
        if machine is not None:
            machine.watching.cancel()
            if machine.process.returncode is None:
                machine.process.kill()
            await machine.process.wait()
            await programs.run(["ip", "link", "del", addresses.veth(record.id)])
        self._facts.pop(record.address, None)

    async def empty_trash(self) -> None:
        """There is none."""

    async def close(self) -> None:
        """Switch everything off, and take the bridge away."""
        for machine in self._machines.values():
            machine.watching.cancel()
            if machine.process.returncode is None:
                machine.process.kill()
            await machine.process.wait()
        if self._dhcp is not None and self._dhcp.returncode is None:
            self._dhcp.terminate()
            await self._dhcp.wait()
        if self._service is not None:
            await self._service.cleanup()
        await self._tasks.__aexit__(None, None, None)
        for name in (*map(addresses.veth, self._machines), self._settings.bridge):
            await programs.run(["ip", "link", "del", name])

    def _command(self, record: Record, disk: Path, tap: str) -> list[str]:
        hardware = self._hardware
        uuid = f"ec2{record.id.removeprefix('i-')[:5]:0<5}-0000-4000-8000-{record.mac.replace(':', '')}"
        return [
            *hardware.machine, "-accel", "tcg,thread=multi", "-smp", str(hardware.cpus),
            "-m", str(hardware.memory_mib), "-nodefaults", "-display", "none", "-no-reboot",
            "-chardev", f"file,id=console,path={self.folder / f'{record.id}.console'}",
            *_kernel(hardware),
            # By these cloud-init knows an instance of EC2.
            "-smbios", f"type=1,manufacturer=Amazon EC2,product={record.type},serial={uuid},uuid={uuid}",
            "-drive", f"if=none,id=disk,file={disk},format=qcow2,cache=unsafe",
            # As on EC2: an NVMe disk.
            "-device", "nvme,drive=disk,serial=vol0", "-netdev", f"tap,id=net,ifname={tap},script=no,downscript=no",
            "-device", f"virtio-net-pci,netdev=net,mac={record.mac},romfile=", "-device", "virtio-rng-pci",
        ]  # fmt: skip

    async def _watch(self, instance: InstanceId, process: asyncio.subprocess.Process) -> None:
        await process.wait()
        self._died(instance)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        known = self._facts.get(request.remote or "")
        if known is None:
            return web.Response(status=404)
        headers = {name.lower(): value for name, value in request.headers.items()}
        # cloud-init asks for dated versions; those that it tries last are as good.
        path = _DATED.sub("/latest/", request.path)
        said = metadata.answer(known, request.method, path, headers, asyncio.get_running_loop().time())
        response = web.Response(status=said.status, text=said.body, headers={"Server": "EC2ws"})
        if said.ttl:
            response.headers["X-Aws-Ec2-Metadata-Token-Ttl-Seconds"] = str(said.ttl)
        return response


def _kernel(hardware: Hardware) -> tuple[str, ...]:
    if hardware.kernel is None:
        return ()
    line = "root=/dev/nvme0n1 rw console=ttyS0 net.ifnames=0 no_timer_check nvme_core.io_timeout=4294967295"
    return "-kernel", str(hardware.kernel), "-initrd", str(hardware.first_stage), "-append", line


async def _started(said: Path, *argv: str) -> asyncio.subprocess.Process:
    with said.open("wb") as errors:
        return await asyncio.create_subprocess_exec(
            *argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
        )
