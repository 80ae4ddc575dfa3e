"""A start, or a making, that an agent's end cut off: where the next agent is killed too, cannot end what was begun, or
is asked again while it still clears up.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
from pathlib import Path

import pytest

from cellagent.runtime import conmon, container
from cellagent.runtime.container import RuntimeContainers
from cellagent.runtime.creation import CarriedFile
from cellagent.runtime.ledger import ContainerEntry, Phase, RuntimeLedger
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from hostkit import files, pids
from tests.component.runtime.conftest import Agents, Client
from tests.support.waiting import until


class Killed(BaseException):
    """In place of SIGKILL: nothing more is done."""


async def cut_off(client: Client, monkeypatch: pytest.MonkeyPatch) -> str:
    """A container that is made and written down, and was not let run."""
    made = await client.create(await client.sandbox(), "sh", "-c", "echo once; exit 7")

    async def never(*_: object) -> None:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(RuntimeContainers, "_let_run", never)
        with pytest.raises(Fault):
            await client.start(made)
    return made


def undying() -> subprocess.Popen[bytes]:
    """A process that SIGKILL does not take away: nobody waits for it."""
    return subprocess.Popen(["true"])


async def test_an_agent_that_is_killed_while_it_settles_a_start_leaves_it_to_the_next(
    agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent() as client:
        made = await cut_off(client, monkeypatch)
        put = RuntimeLedger.put_container

        def killed(ledger: RuntimeLedger, record: ContainerEntry) -> ContainerEntry:
            if record.phase is Phase.CREATED:
                raise Killed
            return put(ledger, record)

        containers = client.room._containers
        with monkeypatch.context() as patch:
            patch.setattr(RuntimeLedger, "put_container", killed)
            with pytest.raises(Killed):
                await containers.recover()
        await containers.recover()
        assert (await client.status(made)).state == cri.CONTAINER_CREATED
        await client.start(made)
        assert (await client.exited(made)).exit_code == 7
        assert (await client.log(made)).count("once") == 1


async def test_what_does_not_die_ends_its_own_container_and_keeps_no_agent_from_starting(
    agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent() as client:
        made = await cut_off(client, monkeypatch)
        works_on = conmon._works_on
        with undying() as held:
            monkeypatch.setattr(conmon, "_works_on", lambda *told: told[1] == held.pid or works_on(*told))
            monkeypatch.setattr(container, "KILL_SECONDS", 0.1)
            await client.room._containers.recover()
            status = await client.status(made)
        assert (status.state, status.reason) == (cri.CONTAINER_EXITED, "StartError")
        assert "lives 0.1 s after SIGKILL" in status.message


async def test_who_calls_itself_conmon_in_a_container_that_sees_this_machines_processes_lives_on(
    agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent() as client:
        made = await cut_off(client, monkeypatch)
        claims = ["unshare", "--mount", "bash", "-c", 'exec -a conmon bash -c "read; :" "$0"', made]
        claiming = await asyncio.create_subprocess_exec(*claims, stdin=asyncio.subprocess.PIPE)
        await until(lambda: pids.command_line(claiming.pid)[:1] == ["conmon"])
        assert conmon.same(claiming.pid, made) == 0
        await client.room._containers.recover()
        assert (await client.status(made)).state == cri.CONTAINER_CREATED
        await client.start(made)
        assert (await client.exited(made)).exit_code == 7
        await claiming.communicate(b"\n")
        assert claiming.returncode == 0, "it was not killed"


async def test_what_a_cell_carries_of_a_container_that_was_never_written_down_is_taken_away(
    agent: Agents, tmp_path: Path
) -> None:
    paths = [tmp_path / "carried" / name / "record" for name in ("half", "cut-off", "whole")]
    async with agent() as client:
        sandbox = await client.sandbox()
        for number, path in enumerate(paths):
            metadata = cri.ContainerMetadata(name=path.parent.name)
            config = cri.ContainerConfig(metadata=metadata, image=cri.ImageSpec(image=client.image), command=["true"])
            asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config)
            await client.room.make_container(f"{number:064x}", asked, CarriedFile(str(path), b"signed"))
        # As an agent leaves it that is killed while it writes the file, or before it writes the record.
        half, cut_off, whole = (client.root / "containers" / f"{number:064x}" / "carried" for number in range(3))
        half.write_bytes(b"sig")
        for number in (0, 1):
            (tmp_path / "state" / "containers" / f"{number:064x}" / "record").unlink()
        client.room._machine.ledger.load()
        await client.room._containers.recover()
        assert not half.parent.exists()
        assert not cut_off.parent.exists()
        assert whole.read_bytes() == b"signed"
        assert [client.room.read_file(str(path), 1000) for path in paths] == [b"", b"", b"signed"]


async def test_a_container_is_made_again_by_its_id_while_what_was_half_made_is_taken_away(
    agent: Agents, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, removed, name, remove = threading.Event(), threading.Event(), "ab" * 32, files.remove_tree

    def late(folder: Path) -> None:
        made.wait()
        remove(folder)
        removed.set()

    async with agent() as client:
        sandbox = await client.sandbox()
        (client.root / "containers" / name / "upper").mkdir(parents=True)
        with monkeypatch.context() as patch:
            patch.setattr(files, "remove_tree", late)
            await client.room._containers.recover()
            config = cri.ContainerConfig(
                metadata=cri.ContainerMetadata(name="main"),
                image=cri.ImageSpec(image=client.image),
                command=["sh", "-c", "exit 7"],
            )
            asked = cri.CreateContainerRequest(pod_sandbox_id=sandbox, config=config)
            try:
                await client.room.make_container(name, asked, None)
            finally:
                made.set()
            await until(removed.is_set)
        await client.start(name)
        assert (await client.exited(name)).exit_code == 7
