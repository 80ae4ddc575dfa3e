"""Mounts of a container as CRI describes them: how far read-only reaches, who sees whose, and where a path leads."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit import programs
from tests.component.runtime.conftest import Agents, Client

PRIVATE, INWARD, BOTH = (
    cri.PROPAGATION_PRIVATE,
    cri.PROPAGATION_HOST_TO_CONTAINER,
    cri.PROPAGATION_BIDIRECTIONAL,
)
TRY = "touch {}/made 2>/dev/null && echo written || echo refused"


async def mount(*words: str) -> None:
    await programs.check(["mount", *words])


@pytest.fixture
def source(tmp_path: Path) -> Generator[Path]:
    """A folder of the machine that passes its mounts on, with whatever a test mounts below it."""
    folder = tmp_path / "source"
    folder.mkdir()
    asyncio.run(mount("--bind", str(folder), str(folder)))
    asyncio.run(mount("--make-rshared", str(folder)))
    try:
        yield folder
    finally:
        asyncio.run(programs.check(["umount", "--recursive", str(folder)]))


async def said(client: Client, script: str, *mounts: cri.Mount) -> list[str]:
    container = await client.run("sh", "-c", script, mounts=mounts)
    await client.exited(container)
    return [line.split(" ", 3)[3] for line in (await client.log(container)).splitlines()]


async def test_a_mount_is_written_to_unless_it_is_read_only(agent: Agents, tmp_path: Path) -> None:
    async with agent() as client:
        for readonly, found in ((False, "written"), (True, "refused")):
            folder = tmp_path / found
            folder.mkdir()
            bound = cri.Mount(container_path="/v", host_path=str(folder), readonly=readonly)
            assert await said(client, TRY.format("/v"), bound) == [found]
            assert (folder / "made").exists() != readonly


@pytest.mark.parametrize(("recursive", "found"), [(False, "written"), (True, "refused")])
async def test_read_only_reaches_the_mounts_below_only_where_asked(
    agent: Agents, source: Path, recursive: bool, found: str
) -> None:
    below = source / "below"
    below.mkdir()
    await mount("-t", "tmpfs", "none", str(below))
    async with agent() as client:
        bound = cri.Mount(container_path="/v", host_path=str(source), readonly=True, recursive_read_only=recursive)
        assert await said(client, f"{TRY.format('/v')}; {TRY.format('/v/below')}", bound) == ["refused", found]
    assert (below / "made").exists() != recursive


async def test_recursive_read_only_and_propagation_do_not_go_together(agent: Agents, source: Path) -> None:
    async with agent() as client:
        for wrong in (
            cri.Mount(container_path="/v", host_path=str(source), recursive_read_only=True),
            cri.Mount(
                container_path="/v", host_path=str(source), readonly=True, recursive_read_only=True, propagation=INWARD
            ),
        ):
            with pytest.raises(Fault, match="recursive read-only needs a read-only mount without") as caught:
                await said(client, "true", wrong)
            assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    ("propagation", "inward", "outward"),
    [(PRIVATE, False, False), (INWARD, True, False), (BOTH, True, True)],
    ids=["private", "host to container", "bidirectional"],
)
async def test_mounts_made_later_pass_as_the_propagation_says(
    agent: Agents, source: Path, propagation: cri.MountPropagation.ValueType, inward: bool, outward: bool
) -> None:
    (source / "in").mkdir()
    (source / "out").mkdir()
    linux = cri.LinuxContainerConfig(security_context=cri.LinuxContainerSecurityContext(privileged=True))
    linux.security_context.namespace_options.pid = cri.CONTAINER
    async with agent() as client:
        bound = cri.Mount(container_path="/v", host_path=str(source), propagation=propagation)
        container = await client.run("sleep", "100", mounts=[bound], linux=linux)
        await mount("-t", "tmpfs", "none", str(source / "in"))
        (source / "in" / "later").touch()
        seen = await client.exec(container, "ls", "/v/in")
        assert (seen.stdout == b"later\n") == inward
        made = await client.exec(container, "sh", "-c", "mount -t tmpfs none /v/out && touch /v/out/inside")
        assert made.exit_code == 0, made.stderr
        assert (source / "out" / "inside").exists() == outward
        told = (await client.status(container)).mounts[0]
        assert (told.propagation, told.host_path) == (propagation, str(source))


async def test_a_mount_that_passes_nothing_on_cannot_be_asked_to(agent: Agents, source: Path) -> None:
    await mount("--make-private", str(source))
    async with agent() as client:
        for propagation in (INWARD, BOTH):
            bound = cri.Mount(container_path="/v", host_path=str(source), propagation=propagation)
            with pytest.raises(Fault, match="is on a private mount, which passes none on"):
                await said(client, "true", bound)


async def test_a_path_leads_over_links_and_one_that_is_not_there_is_made(agent: Agents, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "file").write_text("found\n")
    (tmp_path / "first").symlink_to("second")
    (tmp_path / "second").symlink_to(real)
    (tmp_path / "one").symlink_to("real/file")
    async with agent() as client:
        bound = cri.Mount(container_path="/v", host_path=str(tmp_path / "first"))
        alone = cri.Mount(container_path="/etc/alone", host_path=str(tmp_path / "one"), readonly=True)
        missing = cri.Mount(container_path="/new", host_path=str(tmp_path / "made/for/it"))
        script = f"cat /v/file /etc/alone; {TRY.format('/new')}"
        assert await said(client, script, bound, alone, missing) == ["found", "found", "written"]
        assert (tmp_path / "made/for/it/made").exists()
        broken = cri.Mount(container_path="/v", host_path=str(real / "file/below"))
        with pytest.raises(Fault, match="mount /v: ") as caught:
            await said(client, "true", broken)
        assert caught.value.kind is Kind.INVALID


async def test_a_mount_in_memory_stays_one_and_options_are_kept(agent: Agents, source: Path) -> None:
    memory = source / "memory"
    memory.mkdir()
    await mount("-t", "tmpfs", "-o", "size=1m", "none", str(memory))
    program = memory / "program"
    program.write_text("#!/bin/sh\necho ran\n")
    program.chmod(0o755)
    async with agent() as client:
        script = (
            "/plain/program; /kept/program 2>/dev/null || echo refused; busybox stat -f -c %T /plain;"
            "head -c 2097152 /dev/zero > /plain/large 2>/dev/null || echo full"
        )
        mounts = (
            cri.Mount(container_path="/plain", host_path=str(memory)),
            cri.Mount(container_path="/kept", host_path=str(memory), mount_options=["noexec"]),
        )
        assert await said(client, script, *mounts) == ["ran", "refused", "tmpfs", "full"]


async def test_a_mount_below_another_is_seen_whichever_is_named_first(agent: Agents, tmp_path: Path) -> None:
    for name in ("upper", "lower"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "name").write_text(name + "\n")
    upper = cri.Mount(container_path="/v", host_path=str(tmp_path / "upper"))
    lower = cri.Mount(container_path="/v/deep", host_path=str(tmp_path / "lower"))
    async with agent() as client:
        for order in ((upper, lower), (lower, upper)):
            assert await said(client, "cat /v/name /v/deep/name", *order) == ["upper", "lower"]
    assert not os.path.ismount(tmp_path / "upper" / "deep")
