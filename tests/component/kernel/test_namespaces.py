"""Namespaces, mounts and control groups, for real, and nothing left of them."""

from __future__ import annotations

import asyncio
import secrets
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from cellagent.kernel import cgroups, mounts, namespaces
from cellagent.kernel.cgroup_limits import CgroupLimits
from cellagent.kernel.namespaces import IdMap
from cellwire.faults import Fault
from hostkit import programs

MAP = (IdMap(0, 300000, 65536),)


def started(*argv: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(argv, stdin=subprocess.PIPE)


async def seen_in(paths: dict[str, Path], *command: str) -> str:
    enter = [f"--{kind}={path}" for kind, path in paths.items()]
    return (await programs.check(["nsenter", *enter, *command])).decode().strip()


@pytest.mark.parametrize("kinds", [(), ("pid",), ("user", "pid"), ("user",)])
async def test_namespaces_are_pinned_furnished_and_removed(folder: Path, kinds: tuple[str, ...]) -> None:
    kinds = ("net", "ipc", "uts", *kinds)
    ids = MAP if "user" in kinds else ()
    settings = {"net.ipv4.ip_unprivileged_port_start": "0", "kernel.shm_rmid_forced": "1"}
    paths = await namespaces.create(folder / "ns", kinds, hostname="pod-a", sysctls=settings, uids=ids, gids=ids)
    holder = namespaces.holder(folder / "ns")
    assert await seen_in(paths, "hostname") == "pod-a"
    assert "127.0.0.1" in await seen_in(paths, "ip", "-br", "address")
    assert await seen_in(paths, "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert bool(holder) == ("pid" in kinds)
    assert socket.gethostname() != "pod-a"
    namespaces.remove(folder / "ns")
    namespaces.remove(folder / "ns")
    assert mounts.mounted_below(folder) == []
    await gone(holder)


async def gone(pid: int) -> None:
    async with asyncio.timeout(20):
        while pid and Path(f"/proc/{pid}/root").exists() and "Z" not in state(pid):
            await asyncio.sleep(0.01)


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


async def test_a_holder_reaps_orphans_and_shows_no_files_of_the_machine(folder: Path) -> None:
    paths = await namespaces.create(folder / "ns", ["pid"])
    holder = namespaces.holder(folder / "ns")
    assert list(Path(f"/proc/{holder}/root/").iterdir()) == []
    await programs.check(["nsenter", f"--pid={paths['pid']}", "sh", "-c", "(sleep 0.05 &)"])
    children = Path(f"/proc/{holder}/task/{holder}/children")
    async with asyncio.timeout(20):
        while children.read_text():
            await asyncio.sleep(0.01)
    namespaces.remove(folder / "ns")
    await gone(holder)


async def test_what_a_killed_agent_left_is_replaced(folder: Path) -> None:
    first = await namespaces.create(folder / "ns", ["net", "uts", "pid"], hostname="one")
    assert await seen_in({"uts": first["uts"]}, "hostname") == "one"
    holder = namespaces.holder(folder / "ns")
    second = await namespaces.create(folder / "ns", ["net", "uts", "pid"], hostname="two")
    # Not told by inode numbers: the kernel gives one that has become free to the next namespace.
    assert namespaces.holder(folder / "ns") not in {0, holder}
    assert await seen_in({"uts": second["uts"]}, "hostname") == "two"
    await gone(holder)
    namespaces.remove(folder / "ns")


async def test_a_record_of_a_reused_process_id_kills_nobody(folder: Path) -> None:
    (folder / "ns").mkdir()
    bystander = started("sleep", "30")
    try:
        (folder / "ns" / "holder").write_text(f"{bystander.pid} 1 {bystander.pid} 1")
        namespaces.remove(folder / "ns")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()


@pytest.mark.parametrize("sysctl", ["vm.swappiness", "net.no.such"])
async def test_a_refused_setting_leaves_nothing(folder: Path, sysctl: str) -> None:
    with pytest.raises(Fault, match=sysctl):
        await namespaces.create(folder / "ns", ["net"], sysctls={sysctl: "1"})
    assert mounts.mounted_below(folder) == []


async def test_a_cancelled_making_leaves_nothing(folder: Path) -> None:
    for pause in (0.0, 0.001, 0.004, 0.01):
        making = asyncio.create_task(namespaces.create(folder / "ns", ["net", "ipc", "uts", "pid"]))
        await asyncio.sleep(pause)
        making.cancel()
        try:
            await making
            namespaces.remove(folder / "ns")
        except asyncio.CancelledError:
            pass
    await asyncio.sleep(0.1)
    assert mounts.mounted_below(folder) == []
    assert namespaces.holder(folder / "ns") == 0


async def test_a_function_runs_inside_a_network_namespace_and_nowhere_else(folder: Path) -> None:
    paths = await namespaces.create(folder / "ns", ["net"])
    own = Path("/proc/thread-self/ns/net")
    links, inside = await namespaces.inside(paths["net"], lambda: (socket.if_nameindex(), own.readlink()))
    assert links[0] == (1, "lo")
    assert "eth0" not in dict(links).values()
    assert own.readlink() != inside
    assert str(inside) == f"net:[{paths['net'].stat().st_ino}]"
    namespaces.remove(folder / "ns")
    with pytest.raises(Fault, match="gone"):
        await namespaces.inside(paths["net"], lambda: None)


def test_a_hundred_and_twenty_layers_with_long_names_are_stacked(folder: Path) -> None:
    layers = [folder / f"{number:03}-{'x' * 80}" for number in range(120)]
    for number, layer in enumerate(layers):
        layer.mkdir()
        (layer / "who").write_text(str(number))
        (layer / f"only-{number}").touch()
    upper, work, target = folder / "upper", folder / "work", folder / "target"
    for path in (upper, work, target):
        path.mkdir()
    before = set(Path("/run").iterdir())
    mounts.overlay(layers, upper, work, target)
    try:
        assert (target / "who").read_text() == "0"
        assert (target / "only-119").exists()
        (target / "new").write_text("x")
        assert (upper / "new").exists()
        assert not [one for one in set(Path("/run").iterdir()) - before if one.name[0] == "o"]
    finally:
        mounts.unmount(target)
    # The kernel's own folder inside may hold another one.
    for path in (work / "work", work):
        path.rmdir()


async def test_layers_can_be_mapped_for_a_user_namespace(folder: Path) -> None:
    paths = await namespaces.create(folder / "ns", ["user", "net"], uids=MAP, gids=MAP)
    layers = [folder / "a", folder / "b"]
    for path in (*layers, folder / "upper", folder / "work", folder / "target"):
        path.mkdir()
    (layers[0] / "file").touch()
    mounts.overlay(layers, folder / "upper", folder / "work", folder / "target", userns=paths["user"])
    try:
        assert (folder / "target/file").stat().st_uid == 300000
        assert (layers[0] / "file").stat().st_uid == 0
    finally:
        mounts.unmount(folder / "target")
        namespaces.remove(folder / "ns")
        (folder / "work" / "work").rmdir()


def test_read_only_binds_hold_below_too(folder: Path) -> None:
    for name in ("source", "source/deep", "target"):
        (folder / name).mkdir()
    mounts.tmpfs(folder / "source/deep", 1 << 20)
    try:
        mounts.bind(folder / "source", folder / "target", readonly=True)
        with pytest.raises(OSError, match="Read-only"):
            (folder / "target/deep/x").touch()
        (folder / "source/deep/y").touch()
    finally:
        mounts.unmount_below(folder / "target")
        mounts.unmount_below(folder / "source")


def test_a_failed_mount_names_both_ends(folder: Path) -> None:
    with pytest.raises(Fault, match=f"{folder}/none"):
        mounts.bind(folder / "none", folder / "target")
    mounts.unmount(folder / "never")


async def test_a_group_limits_counts_kills_and_goes(folder: Path) -> None:
    name = f"chk-{secrets.token_hex(4)}"
    group = cgroups.ControlGroup(f"/{name}/pod")
    group.create()
    group.limit(CgroupLimits(memory_bytes=32 << 20, pids=50, cpu_quota_us=100_000))
    try:
        assert group.usage().memory_limit == 32 << 20
        sleeper = started("sleep", "60")
        group.add(sleeper.pid)
        assert group.pids() == [sleeper.pid]
        assert group.usage().pids == 1
        with pytest.raises(Fault, match="no_such"):
            group.update({"memory.no_such": "1"})
        await asyncio.to_thread(group.kill)
        sleeper.communicate()
        assert sleeper.returncode == -signal.SIGKILL
        # A program that asks for more than its group may have.
        hungry = started("sh", "-c", "read -r go; exec tail /dev/zero")
        group.add(hungry.pid)
        hungry.communicate(b"go\n", timeout=20)
        assert hungry.returncode == -signal.SIGKILL
        assert group.oom_kills() == group.usage().oom_kills == 1
    finally:
        group.kill()
        cgroups.ControlGroup(f"/{name}").remove()
    assert not group.exists()
    assert not [path for root in cgroups.hierarchies().values() for path in root.glob(name)]


async def test_a_deadline_ends_the_whole_session_of_a_program() -> None:
    start = time.monotonic()
    with pytest.raises(Fault, match="did not end"):
        await programs.run(["sh", "-c", "sleep 31.4159 & sleep 31.4159"], deadline=0.2)
    assert time.monotonic() - start < 25
    # A killed process may take a moment to end.
    for _ in range(50):
        if b"sleep\x0031.4159\x00" not in command_lines():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("the program's child runs on")


def command_lines() -> list[bytes]:
    found: list[bytes] = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(FileNotFoundError, ProcessLookupError):
            found.append(path.read_bytes())
    return found


async def test_a_program_that_is_not_there_says_so() -> None:
    with pytest.raises(Fault, match="not installed"):
        await programs.run(["chinampa-no-such-program"], deadline=1)
