"""A shim that is a process of its own on its worker: either side is killed, and the other notices a pause."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from tests.e2e.test_the_whole_way import processes_of
from tests.support.controller import running_controller
from tests.support.shim import STANDBY
from tests.support.waiting import until, until_found
from tests.support.worker import COUNT, WorkerProcess, fingerprint_of, joining, link_of, running_worker

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"),
    pytest.mark.timeout(600),
    pytest.mark.waits,
]


async def test_worker_and_controller_outlive_each_other(tmp_path: Path) -> None:
    async with running_controller(tmp_path, STANDBY, lease=120) as controller:
        host, link = link_of(controller)
        async with running_worker("node-1", tmp_path / "w", controller, host) as worker:
            shim = worker.shim
            sandbox, container = await shim.pod(*COUNT, uid="u1")
            assert await shim.said(container, "echo there") == "there\n"
            await worker.counts_on("u1")
            told = await controller.run("status", "--config", str(worker.folder / "shim.toml"))
            assert "worker node-1" in told, told
            assert link in told, told
            assert "1 claimed" in told, told
            assert worker.process is not None
            worker.process.send_signal(signal.SIGUSR1)
            await until(lambda: "task the controller" in (worker.folder / "shim.log").read_text())
            (cell,) = [one for one in await controller.cells() if one["state"] == "claimed"]

            await worker.kill()
            await worker.start()
            assert await until_found(lambda: worker.said_again(container)) == "again\n"
            await worker.counts_on("u1")

            await controller.kill()
            assert await shim.said(container, "echo alone") == "alone\n"
            told = await controller.run("status", "--config", str(worker.folder / "shim.toml"))
            assert "none answers: " in told, told
            await worker.counts_on("u1")
            with pytest.raises(Fault) as refused:
                await shim.run(shim.config("u2"))
            assert refused.value.kind is Kind.UNAVAILABLE
            assert link in str(refused.value)
            assert "ask again" in str(refused.value)
            for agent in processes_of(controller, cell["instance"], "cellagent\0run"):
                os.kill(agent, signal.SIGKILL)  # it knows by itself whom to dial
            assert await until_found(lambda: worker.said_again(container)) == "again\n"
            await worker.kill()  # and both are gone
            await worker.start()
            assert await until_found(lambda: worker.said_again(container)) == "again\n"

            await controller.start()
            assert await until_found(lambda: worker.pod_in_time(*COUNT, uid="u3"))
            await worker.counts_on("u1")
            assert cell["name"] in [one["name"] for one in await controller.cells() if one["state"] == "claimed"]
            await shim.remove(sandbox)
            await controller.until(lambda cells: cell["name"] not in [one["name"] for one in cells])

            config = str(tmp_path / "controller.toml")
            told = await controller.run("token", "revoke", "--worker", "node-1", "--config", config)
            assert "1 of its cells" in told
            await until(lambda: "was revoked" in worker.words())
            await controller.until(lambda cells: all(one["state"] != "claimed" for one in cells))


async def test_a_worker_is_who_its_token_names_and_once(tmp_path: Path) -> None:
    async with running_controller(tmp_path) as controller:
        host, link = link_of(controller)
        token = await joining(controller, "node-1")
        first = WorkerProcess("node-1", tmp_path / "w1", controller, host, [link])
        second = WorkerProcess("node-1", tmp_path / "w2", controller, host, [link])
        try:
            with pytest.raises(AssertionError, match="not the one that --fingerprint names"):
                await first.start(token, "sha256:" + "0" * 64)
            await first.start(token, fingerprint_of(controller))
            with pytest.raises(AssertionError, match="another has joined with its token"):
                await second.start(token, fingerprint_of(controller))
            await second.start(await joining(controller, "node-1"), fingerprint_of(controller))
            await until(lambda: "another has joined under its name since" in first.words())
        finally:
            for worker in (first, second):
                worker.shim.close()
                if worker.process is not None:
                    await worker.kill(signal.SIGTERM)
            await asyncio.sleep(0)


async def test_cells_of_a_worker_that_is_gone_for_good_are_retired_and_those_of_another_are_not(tmp_path: Path) -> None:
    async with running_controller(tmp_path, STANDBY, lease=120, fleet="worker_lease = 15") as controller:
        host, _ = link_of(controller)
        async with (
            running_worker("node-1", tmp_path / "w1", controller, host) as gone,
            running_worker("node-2", tmp_path / "w2", controller, host) as stays,
        ):
            await gone.shim.pod(*COUNT, uid="u1")
            _, container = await stays.shim.pod(*COUNT, uid="u2")
            assert len([one for one in await controller.cells() if one["state"] == "claimed"]) == 2

            await gone.kill()
            await controller.until(
                lambda cells: [one["pod"] for one in cells if one["state"] == "claimed"] == ["default/pod-u2"],
                seconds=120,
            )
            log = (tmp_path / "controller.log").read_text()
            assert "cells of a silent worker are retired' worker='node-1' cells=1" in log
            assert await until_found(lambda: stays.said_again(container)) == "again\n"
            await stays.counts_on("u2")
