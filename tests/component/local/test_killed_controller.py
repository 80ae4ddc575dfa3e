"""A controller is killed at any moment; its instances run on, and the next one finds them again."""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from controller.clouds.local.cloud import running
from controller.clouds.local.instance_records import Record
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.sweep import Leftovers, leftovers
from controller.clouds.protocol import LaunchRequest
from controller.model.instance import InstanceState
from tests.component.local.waiting import until, written
from tests.support.launching import launched_all

Playground = Callable[..., AbstractAsyncContextManager[LocalSettings]]
TICK = "#!/bin/sh\nwhile :; do date +%s.%N >>/var/log/ticks; sleep 0.05; done\n"
LATE = "#!/bin/sh\necho booted >/var/log/booted\nexec sleep 600\n"
CONTROLLER = """
import asyncio, sys, msgspec, uvloop
from controller.clouds.local.cloud import running
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.protocol import LaunchRequest
from tests.support.launching import launched_all
settings = msgspec.json.decode(sys.argv[1], type=LocalSettings, dec_hook=lambda kind, value: kind(value))
async def main():
    async with running(settings) as cloud:
        offers = (await cloud.offers())[:1]
        print("open", flush=True)
        made = await launched_all(cloud, [LaunchRequest(client_token=str(n), offers=offers, user_data=sys.argv[3])
                                          for n in range(int(sys.argv[2]))])
        print(" ".join(one.instance.id for one in made), flush=True)
        await asyncio.sleep(600)
uvloop.run(main())
"""


async def controller(
    settings: LocalSettings, count: int, user_data: str, handed: tuple[int, ...] = ()
) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        CONTROLLER,
        msgspec.json.encode(settings, enc_hook=str).decode(),
        str(count),
        user_data,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        pass_fds=handed,
    )


async def line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(20):
        return (await process.stdout.readline()).decode().strip()


async def test_instances_run_on_and_are_found_again_with_their_metadata(playground: Playground) -> None:
    async with playground() as settings:
        former = await controller(settings, 1, TICK)
        assert await line(former) == "open"
        instance = await line(former)
        ticks = settings.root / "instances" / instance / "disk/log/ticks"
        await written(ticks)
        former.kill()
        await former.wait()

        before = len(ticks.read_text())
        await asyncio.sleep(0.3)
        assert len(ticks.read_text()) > before

        async with running(settings) as cloud:
            (known,) = await cloud.instances()
            assert (known.id, known.state, known.client_token) == (instance, InstanceState.RUNNING, "0")
            offers = (await cloud.offers())[:1]
            again = await cloud.launch(LaunchRequest(client_token="0", offers=offers, user_data=TICK))
            assert again.instance is not None
            assert again.instance.id == instance
            record = msgspec.json.decode((settings.root / "records" / f"{instance}.json").read_bytes(), type=Record)
            ask = (
                "import urllib.request as u; r=u.Request('http://169.254.169.254/latest/api/token',method='PUT',"
                "headers={'X-aws-ec2-metadata-token-ttl-seconds':'60'}); print(len(u.urlopen(r,timeout=5).read()))"
            )
            inside = await asyncio.create_subprocess_exec(
                "nsenter", f"--net=/proc/{record.pid}/ns/net", sys.executable, "-c", ask
            )
            assert await inside.wait() == 0
            await cloud.terminate([known.id])
        assert await leftovers(settings) == Leftovers()


async def test_instances_hold_no_lock_that_their_controller_was_started_with(
    playground: Playground, tmp_path: Path
) -> None:
    async with playground() as settings:
        with (tmp_path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            former = await controller(settings, 1, TICK, handed=(lock.fileno(),))
        assert await line(former) == "open"
        instance = await line(former)
        await written(settings.root / "instances" / instance / "disk/log/ticks")
        former.kill()
        await former.wait()

        with (tmp_path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("wait", [0.0, 0.03, 0.1, 0.2, 0.3])
async def test_a_kill_amid_launches_ends_with_one_running_instance_per_token(
    playground: Playground, wait: float
) -> None:
    async with playground() as settings:
        former = await controller(settings, 6, LATE)
        assert await line(former) == "open"
        await asyncio.sleep(wait)
        former.kill()
        await former.wait()

        async with running(settings) as cloud:
            offers = (await cloud.offers())[:1]
            outcomes = await launched_all(
                cloud, [LaunchRequest(client_token=str(n), offers=offers, user_data=LATE) for n in range(6)]
            )
            ids = {outcome.instance.id for outcome in outcomes if outcome.instance}
            alive = {one.id for one in await cloud.instances() if one.state is InstanceState.RUNNING}
            assert len(ids) == 6
            assert alive == ids
            for one in ids:
                await written(settings.root / "instances" / one / "disk/log/booted")

            async def only_six() -> bool:  # the disks of half-made ones are removed in the background
                counted = await leftovers(settings)
                return (counted.links, counted.files) == (6, 6)

            await until(only_six)
            await cloud.terminate(list(ids))
        assert await leftovers(settings) == Leftovers()


async def test_what_died_while_no_controller_looked_is_told_as_terminated(playground: Playground) -> None:
    async with playground() as settings:
        former = await controller(settings, 1, TICK)
        await line(former)
        instance = await line(former)
        former.kill()
        await former.wait()
        record = msgspec.json.decode((settings.root / "records" / f"{instance}.json").read_bytes(), type=Record)
        os.kill(record.pid, 9)

        async with running(settings) as cloud:
            assert [(one.id, one.state) for one in await cloud.instances()] == [(instance, InstanceState.TERMINATED)]
        assert await leftovers(settings) == Leftovers()
