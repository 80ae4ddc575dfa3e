"""Instances made of namespaces, for real: their addresses, metadata, size, life and end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import msgspec
import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.local import instance_cgroups, router
from controller.clouds.local.cloud import running
from controller.clouds.local.instance_records import Record
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.machines import Machines
from controller.clouds.local.sweep import Leftovers, leftovers
from controller.clouds.protocol import Cloud, LaunchRequest
from controller.model.instance import Instance, InstanceState
from controller.model.offer import Offer
from hostkit import mountinfo, programs
from tests.component.local.waiting import nothing_left, until, written
from tests.support.launching import kind_of, launched_all

Playground = Callable[..., AbstractAsyncContextManager[LocalSettings]]
SLEEP = "#!/bin/sh\ndate +%s.%N >/var/log/at\nexec sleep 600\n"
ASK = """
import sys, urllib.request, urllib.error
base = "http://169.254.169.254/latest/"
def ask(path, method="GET", **headers):
    request = urllib.request.Request(base + path, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as error:
        return str(error.code)
token = ask("api/token", "PUT", **{"X-aws-ec2-metadata-token-ttl-seconds": "60"})
for path in sys.argv[1:]:
    bare = path.startswith("!")
    print(repr(ask(path.lstrip("!"), **({} if bare else {"X-aws-ec2-metadata-token": token}))))
"""


def offer(offers: tuple[Offer, ...], name: str = "local.nano") -> tuple[Offer, ...]:
    return tuple(one for one in offers if one.shape.type == name)[:1]


async def launch(cloud: Cloud, user_data: str = SLEEP, token: str = "t", name: str = "local.nano") -> Instance:
    offers = offer(await cloud.offers(), name)
    launched = await cloud.launch(LaunchRequest(client_token=token, offers=offers, user_data=user_data))
    assert launched.instance is not None, launched.fault
    return launched.instance


def record(settings: LocalSettings, instance: Instance) -> Record:
    return msgspec.json.decode((settings.root / "records" / f"{instance.id}.json").read_bytes(), type=Record)


def disk(settings: LocalSettings, instance: Instance, name: str) -> Path:
    return settings.root / "instances" / instance.id / "disk" / name


async def ask(pid: int, *paths: str) -> list[str]:
    there = ["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-I", "-c", ASK, *paths]
    return [eval(line) for line in (await programs.check(there)).decode().splitlines()]


async def test_user_data_runs_in_a_machine_of_its_own(playground: Playground) -> None:
    script = (
        "#!/bin/sh\nexec >/var/log/seen.new\n"
        "hostname; echo $$; cat /proc/self/cgroup | tr '\\n' ' '; echo; ls /proc | grep -c '^[0-9]'\n"
        "ip -4 -o address show dev eth0 | tr -s ' ' | cut -d' ' -f4; ip route | head -1; cat /etc/hostname\n"
        "(echo x >/usr/x) 2>/dev/null; echo $?; echo mine >/etc/mine && cat /etc/mine\n"
        "ls /dev/vda /dev/sda 2>/dev/null\n"
        "echo $PATH $MORE\nmv /var/log/seen.new /var/log/seen\nexec sleep 600\n"
    )
    async with playground(path=("/opt/agent",), environment={"MORE": "more"}) as settings, running(settings) as cloud:
        instance = await launch(cloud, script)
        hostname, pid, groups, processes, address, route, own, refused, mine, path = (
            await written(disk(settings, instance, "log") / "seen")
        ).splitlines()

        assert hostname == own == "ip-" + instance.address.replace(".", "-")
        assert int(pid) < 10
        # Of a hierarchy that is mounted nowhere a machine knows nothing: its processes are left where they are.
        mounted = {",".join(one.names) for one in instance_cgroups.hierarchies(mountinfo.own())}
        assert {group for _, names, group in (one.split(":", 2) for one in groups.split()) if names in mounted} == {
            "/init"
        }
        assert int(processes) < 10
        assert address == f"{instance.address}/24"
        assert route.startswith(f"default via {settings.subnet.rpartition('.')[0]}.1 dev eth0")
        assert refused != "0"
        assert mine == "mine"
        assert not Path("/etc/mine").exists()
        assert path.startswith("/opt/agent:")
        assert path.endswith(" more")


async def test_folders_of_this_machine_stay_visible_though_below_a_private_one(
    playground: Playground, tmp_path: Path
) -> None:
    deep = tmp_path / "clone" / "bin"
    deep.mkdir(parents=True)
    (tmp_path / "clone" / "agent.py").write_text("here\n")
    (tmp_path / "secret").write_text("hidden\n")
    script = (
        f"#!/bin/sh\ncat {tmp_path}/clone/agent.py {tmp_path}/secret >/var/log/seen 2>/dev/null\n"
        f"(echo x >{deep}/x) 2>/dev/null; echo $? >/var/log/wrote\n"
    )
    async with playground(path=(str(deep),), visible=(str(deep.parent),)) as settings, running(settings) as cloud:
        instance = await launch(cloud, script)

        assert await written(disk(settings, instance, "log") / "wrote") != "0\n"
        assert await written(disk(settings, instance, "log") / "seen") == "here\n"


async def test_user_data_runs_at_each_launch_and_an_end_leaves_nothing(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        before = await leftovers(settings)
        for number in range(5):
            began = time.time()
            instance = await launch(cloud, token=str(number))
            assert float(await written(disk(settings, instance, "log") / "at")) >= began
            await cloud.terminate([instance.id])
        await nothing_left(settings)

        assert before == Leftovers()
        assert {one.state for one in await cloud.instances()} == {InstanceState.TERMINATED}


async def test_twenty_instances_at_once_boot_and_end(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        offers = offer(await cloud.offers())
        outcomes = await launched_all(
            cloud, [LaunchRequest(client_token=str(n), offers=offers, user_data=SLEEP) for n in range(20)]
        )
        made = [outcome.instance for outcome in outcomes if outcome.instance]
        for instance in made:
            await written(disk(settings, instance, "log") / "at")
        assert len({one.address for one in made} | {one.pod_address for one in made}) == 40

        await cloud.terminate([one.id for one in made])
        await nothing_left(settings)


async def test_the_metadata_service_answers_inside_with_a_token_only(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        instance = await launch(cloud)
        known = record(settings, instance)
        network = f"meta-data/network/interfaces/macs/{known.mac}/"

        denied, number, both, data, zone, spot = await ask(
            known.pid,
            "!meta-data/instance-id",
            "meta-data/instance-id",
            network + "local-ipv4s",
            "user-data",
            "meta-data/placement/availability-zone",
            "meta-data/spot/instance-action",
        )

        assert denied == "401"
        assert number == instance.id
        assert both.split("\n") == [instance.address, instance.pod_address]
        assert data == SLEEP
        assert zone == instance.zone
        assert spot == "404"


async def test_the_identity_document_is_verified_and_a_changed_one_denied(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        instance = await launch(cloud)
        pid = record(settings, instance).pid
        document, signature = await ask(
            pid, "dynamic/instance-identity/document", "dynamic/instance-identity/signature"
        )

        identity = cloud.verify(document.encode(), signature.encode())
        assert (identity.instance, identity.address) == (instance.id, instance.address)
        assert (identity.region, identity.zone) == (settings.region, instance.zone)
        assert len(base64.b64decode(signature)) == 256
        assert (settings.root / "identity.key").stat().st_mode & 0o777 == 0o600
        with pytest.raises(Fault) as raised:
            cloud.verify(document.replace(instance.id, "i-00000000000000000").encode(), signature.encode())
        assert raised.value.kind is Kind.DENIED


async def test_instances_reach_each_other_and_the_bridge(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        one, other = await launch(cloud, token="a"), await launch(cloud, token="b")
        pid = record(settings, one).pid
        listen = (
            "import socket,sys; s=socket.create_server(('0.0.0.0',7)); print('up',flush=True);"
            "[s.accept()[0].sendall(b'hi') for _ in range(1)]"
        )
        server = await asyncio.create_subprocess_exec(
            "nsenter",
            f"--net=/proc/{record(settings, other).pid}/ns/net",
            sys.executable,
            "-c",
            listen,
            stdout=asyncio.subprocess.PIPE,
        )
        assert server.stdout is not None
        await server.stdout.readline()
        dial = f"import socket; print(socket.create_connection(({other.address!r},7),5).recv(9))"
        said = await programs.check(["nsenter", f"--net=/proc/{pid}/ns/net", sys.executable, "-c", dial])
        await server.wait()
        assert said == b"b'hi'\n"


async def test_a_process_that_takes_more_memory_than_the_type_has_is_killed(playground: Playground) -> None:
    script = f"#!/bin/sh\n{sys.executable} -c 'b = bytearray(400 << 20)'\necho $? >/var/log/status\nexec sleep 600\n"
    async with playground() as settings, running(settings) as cloud:
        small = await launch(cloud, script, "small", "local.nano")
        large = await launch(cloud, script, "large", "local.medium")

        assert await written(disk(settings, small, "log") / "status", 30) == "137\n"
        assert await written(disk(settings, large, "log") / "status", 30) == "0\n"


async def test_a_busy_instance_gets_the_cpu_of_its_type(playground: Playground) -> None:
    async with playground(launch_credit_seconds=0.0) as settings, running(settings) as cloud:
        instance = await launch(cloud, "#!/bin/sh\ncut -d' ' -f1 /proc/self/stat >/var/log/pid\nwhile :; do :; done\n")
        await written(disk(settings, instance, "log") / "pid")
        first = record(settings, instance).pid

        def used() -> float:
            children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
            fields = Path(f"/proc/{children[0]}/stat").read_text().rpartition(") ")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

        before, began = used(), time.monotonic()
        await asyncio.sleep(2)
        assert (used() - before) / (time.monotonic() - began) < 0.35


async def test_an_instance_gets_its_cpu_size_also_where_a_container_has_a_larger_limit(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        instance = await launch(cloud)
        groups = instance_cgroups.Groups(settings.cluster, settings.cgroup_parent)
        held = [group for group in groups.of(instance.id) if (group / "cpu.cfs_quota_us").exists()]
        if not held:
            pytest.skip("NOT RUN: version 2 alone takes the smaller of two limits by itself")
        container = held[0] / "pod" / "container"
        container.mkdir(parents=True)
        (container / "cpu.cfs_quota_us").write_text("600000")
        groups.limit_cpu(instance.id, 250)
        quotas = [(folder / "cpu.cfs_quota_us").read_text() for folder in (held[0], container)]
        assert quotas == ["25000\n", "-1\n"]


async def test_orphans_inside_are_reaped_and_the_instance_outlives_its_user_data(playground: Playground) -> None:
    script = "#!/bin/sh\n(sh -c 'sleep 0.1 & :' &)\necho done >/var/log/done\n"
    async with playground() as settings, running(settings) as cloud:
        instance = await launch(cloud, script)
        await written(disk(settings, instance, "log") / "done")
        pid = record(settings, instance).pid

        async def childless() -> bool:
            return not Path(f"/proc/{pid}/task/{pid}/children").read_text()

        await until(childless)
        assert [one.state for one in await cloud.instances()] == [InstanceState.RUNNING]


async def test_an_instance_that_ends_by_itself_is_told_and_cleaned_up(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        instance = await launch(cloud)
        notices = cloud.notices()
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(10):
            heard = tasks.create_task(anext(notices))  # pyright: ignore[reportArgumentType] - an async generator's
            await asyncio.sleep(0)
            os.kill(record(settings, instance).pid, signal.SIGKILL)
        await notices.aclose()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]

        assert (heard.result().instance, heard.result().kind) == (instance.id, "state-change")
        assert [one.state for one in await cloud.instances()] == [InstanceState.TERMINATED]
        assert (await leftovers(settings)).processes == 0


async def test_one_instance_that_does_not_end_in_time_keeps_no_other_and_is_told_as_a_fault(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playground() as settings, running(settings) as cloud:
        first, second = await launch(cloud, token="first"), await launch(cloud, token="second")
        end = Machines.end

        async def stuck(self: Machines, record: Record) -> None:
            if record.id == first.id:
                raise Fault(Kind.TIMEOUT, f"instance {record.id}", "did not end")
            await end(self, record)

        with monkeypatch.context() as patched:
            patched.setattr(Machines, "end", stuck)
            with pytest.raises(Fault) as told:
                await cloud.terminate([first.id, second.id])
        assert told.value.kind is Kind.TIMEOUT
        states = {one.id: one.state for one in await cloud.instances()}
        assert states == {first.id: InstanceState.STOPPING, second.id: InstanceState.TERMINATED}
        await cloud.terminate([first.id])


async def test_what_did_not_end_at_the_start_of_a_controller_is_ended_later(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with playground() as settings:
        async with running(settings) as cloud:
            left = await launch(cloud)
        (settings.root / "records" / f"{left.id}.json").unlink()
        end, tries = Machines.end, 0

        async def slow(self: Machines, record: Record) -> None:
            nonlocal tries
            tries += 1
            if tries < 3:
                raise Fault(Kind.TIMEOUT, f"instance {record.id}", "did not end")
            await end(self, record)

        monkeypatch.setattr(Machines, "end", slow)
        async with running(settings) as cloud:
            while [one for one in await cloud.instances() if one.state is not InstanceState.TERMINATED]:
                await asyncio.sleep(0.05)
        assert tries == 3
        assert (await leftovers(settings)).processes == 0


async def test_more_memory_than_there_is_is_not_promised(playground: Playground) -> None:
    async with playground(memory_mib=300) as settings, running(settings) as cloud:
        first = await launch(cloud, token="a")
        offers = offer(await cloud.offers())
        second = await cloud.launch(LaunchRequest(client_token="b", offers=offers, user_data=SLEEP))
        assert second.instance is None
        assert kind_of(second) is Kind.NO_CAPACITY

        await cloud.terminate([first.id])
        await launch(cloud, token="b")


async def test_a_cancelled_launch_leaves_nothing(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        for wait in (0.005, 0.02, 0.035, 0.05):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await launch(cloud, token="t")
            await cloud.terminate([one.id for one in await cloud.instances()])
        await nothing_left(settings)


async def test_a_launch_that_may_yet_fail_is_not_listed(playground: Playground) -> None:
    async with playground() as settings, running(settings) as cloud:
        launching = asyncio.create_task(launch(cloud))
        seen: set[InstanceState] = set()
        while not launching.done():
            seen |= {one.state for one in await cloud.instances()}
            await asyncio.sleep(0.001)
        assert seen <= {InstanceState.RUNNING}
        assert [one.id for one in await cloud.instances()] == [(await launching).id]


async def test_a_closed_cloud_without_instances_leaves_no_bridge_and_no_group(playground: Playground) -> None:
    async with playground() as settings:
        async with running(settings) as cloud:
            await cloud.terminate([(await launch(cloud)).id])
            assert router.exists(settings.bridge)
        assert not router.exists(settings.bridge)
        assert not instance_cgroups.Groups(settings.cluster).folders()


async def test_a_second_controller_is_refused_the_same_folder(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.clouds.local.cloud._LOCK_SECONDS", 0.1)
    async with playground() as settings, running(settings):
        with pytest.raises(Fault) as raised:
            async with running(settings):
                pass
        assert raised.value.kind is Kind.EXISTS


async def test_a_taken_subnet_is_refused_by_name(playground: Playground) -> None:
    async with playground() as settings, running(settings):
        other = msgspec.structs.replace(
            settings, cluster=f"{settings.cluster}b", bridge=f"{settings.bridge}b", root=settings.root / "b"
        )
        with pytest.raises(Fault, match="overlaps"):
            async with running(other):
                pass
        assert not instance_cgroups.Groups(other.cluster).folders()
        assert not router.exists(other.bridge)
