"""Plain kubectl against the pods API, with cells that are doubles."""

import asyncio
import json
import re
import shutil
import time
from contextlib import suppress
from pathlib import Path

import pytest
from aiohttp import web

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from controller.pods import pod_keeper
from controller.sandboxes import sandbox_lifecycle
from tests.support.cri_double import CellDouble
from tests.support.pods_api import manifest, world
from tests.support.registry import serving
from tests.support.waiting import until

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")


async def test_a_pod_is_applied_listed_described_logged_and_deleted(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        assert "pod/web created" in await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        wide = await it.ok("get", "pods", "-o", "wide")
        titles = "NAME READY STATUS RESTARTS AGE IP NODE NOMINATED NODE READINESS GATES USD"
        assert " ".join(wide.split("\n")[0].split()) == titles
        assert wide.split("\n")[1].split()[:4] == ["web", "1/1", "Running", "0"]
        assert "10.8.0.3" in wide
        assert "c-0" in wide
        assert await it.ok("logs", "web") == "hello\n"
        assert (await it.ok("logs", "web", "--timestamps")).endswith("Z hello\n")
        described = await it.ok("describe", "pod", "web")
        for reason in ("Scheduled", "Pulling", "Pulled", "Created", "Started"):
            assert f"  {reason} " in described
        assert "pod/web unchanged" in await it.ok("apply", "-f", "-", stdin=manifest())
        assert 'pod "web" deleted' in await it.ok("delete", "pod", "web", "--grace-period=1")
        assert "No resources found" in (await it.kubectl("get", "pods")).err
        assert it.fleet.released == ["c-0"]


async def test_exec_gives_output_and_exit_code(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        ran = await it.kubectl("exec", "web", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
        assert (ran.code, ran.out) == (7, "out\n")
        assert "err" in ran.err
        assert await it.ok("exec", "-i", "web", "--", "cat", stdin="through") == "through"


async def test_port_forward_carries_bytes(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        writer.close()

    listener = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    async with listener, world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        process = await asyncio.create_subprocess_exec(
            *it.command("port-forward", "pod/web", f":{port}"), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            line = (await process.stdout.readline()).decode()
            local = int(line.split("127.0.0.1:")[1].split(" ")[0])
            reader, writer = await asyncio.open_connection("127.0.0.1", local)
            writer.write(b"hello\n")
            assert await reader.readline() == b"HELLO\n"
            writer.close()
        finally:
            process.terminate()
            await process.wait()


async def test_a_pod_is_asked_through_the_proxy_and_knows_nobodys_token(tmp_path: Path) -> None:
    asked: list[web.Request] = []

    async def answers(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        headers = {"Set-Cookie": "a=b", "Location": "/there", "X-Own": "1"}
        return web.Response(text=f"{request.method} {request.rel_url} {await request.text()}", headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers)
    async with serving(app) as address, world(tmp_path) as it:
        port = address.rpartition(":")[2]
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        place = f"/api/v1/namespaces/default/pods/web:{port}/proxy"
        assert await it.ok("get", "--raw", f"{place}/a%20b/c?d=e") == "GET /a%20b/c?d=e "
        assert await it.ok("get", "--raw", place) == "GET / "
        assert await it.ok("create", "--raw", f"{place}/x", "-f", "-", stdin="body") == "POST /x body"
        assert not any("Authorization" in one.headers for one in asked)
        for name, said in (
            ("web:1", "503|refused|Unavailable|unavailable"),
            ("web:none", 'pods "web" has no port none'),
            ("x", "not found"),
        ):
            ran = await it.kubectl("get", "--raw", f"/api/v1/namespaces/default/pods/{name}/proxy/")
            assert re.search(said, ran.err), ran.err


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 O\rK\r\n\r\nhi", 'pods "web" does not answer in HTTP'),
        (b"HTTP/1.1 200 OK\r\nX-A: b\rc\0\r\nX-B: c\r\n\r\nhi", "^hi$"),
        (
            b"HTTP/1.1 200 OK\r\n" + b"a:b\r\n" * 100_000 + b"\r\nhi",
            'pods "web" begins its answer with too many headers',
        ),
        (b"nothing", 'pods "web" ended its answer before it had begun'),
    ],
    ids=["reason", "control-characters", "many-headers", "none"],
)
async def test_an_answer_of_a_pod_that_is_no_sound_http_is_told_in_words(
    tmp_path: Path, answer: bytes, said: str
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        with suppress(ConnectionError):
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, world(tmp_path) as it:
        port = server.sockets[0].getsockname()[1]
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        ran = await it.kubectl("get", "--raw", f"/api/v1/namespaces/default/pods/web:{port}/proxy/")
        assert re.search(said, ran.err or ran.out), ran


async def test_who_is_ready_says_what_was_looked_at(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        told = await it.ok("get", "--raw", "/readyz?verbose")
        assert told.splitlines() == ["[+]ping ok", "[+]objects ok", "[+]certificate ok", "readyz check passed"]
        assert "[+]ping ok\nlivez check passed" in await it.ok("get", "--raw", "/livez?verbose")
        assert "certificate excluded" in await it.ok("get", "--raw", "/readyz?verbose&exclude=certificate")
        for path in ("/readyz", "/livez", "/healthz", "/readyz/ping"):
            assert await it.ok("get", "--raw", path) == "ok"


async def test_run_with_rm_attaches_and_leaves_nothing(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        args = ("run", "once", "--image=busybox", "--restart=Never", "-i", "--rm", "--quiet", "--")
        ran = await it.kubectl(*args, "sh", "-c", "read x; echo got $x", stdin="word\n")
        assert "got word" in ran.out, ran.err
        assert "No resources found" in (await it.kubectl("get", "pods")).err


async def test_an_unknown_image_waits_with_its_cause_in_words(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest(container={"image": "absent:1"}))
        await it.until("ErrImagePull", "get", "pods")
        await it.until("ImagePullBackOff", "get", "pods")
        assert "the registry has no such tag" in await it.ok("describe", "pod", "web")
        ran = await it.kubectl("logs", "web")
        assert 'container "web" in pod "web" is waiting to start' in ran.err


async def test_a_registry_that_the_cell_cannot_reach_is_told_and_tried_again_with_back_off(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.kubectl("run", "web", "--image=registry.unreachable/web:1")
        await it.until("ErrImagePull", "get", "pods")
        await it.until("ImagePullBackOff", "get", "pods")
        described = (await it.kubectl("describe", "pod", "web")).out
        assert "its registry cannot be reached" in described
        assert sum(double.pulls for double in it.fleet.doubles.values()) == 1


async def test_a_command_that_is_not_there_shows_the_runtimes_words(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest(container={"command": ["/no/such"]}))
        await it.until("RunContainerError", "get", "pods")
        assert "No such file" in await it.ok("describe", "pod", "web")


async def test_a_container_that_a_deletion_ends_is_not_said_to_be_started_again(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        mark = tmp_path / "ended-once"
        await it.ok("apply", "-f", "-", stdin=manifest(f"test -e {mark} || {{ touch {mark}; exit 3; }}; sleep 1000"))
        await it.until("1/1     Running   1", "get", "pods")
        await it.ok("delete", "pod", "web", "--grace-period=1")
        events = await it.ok("get", "events")
        assert "Killing" in events
        assert "Back-off restarting" not in events


async def test_a_crash_is_restarted_with_back_off_and_previous_logs(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest("echo run; exit 3"))
        await it.until("CrashLoopBackOff", "get", "pods")
        assert await it.ok("logs", "web", "--previous") == "run\n"
        pod = json.loads(await it.ok("get", "pod", "web", "-o", "json"))
        status = pod["status"]["containerStatuses"][0]
        assert status["restartCount"] == 1
        assert status["lastState"]["terminated"]["exitCode"] == 3


async def test_a_finished_pod_keeps_its_status_and_logs_but_not_its_cell(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest("echo done", restartPolicy="Never"))
        await it.until("Completed", "get", "pods")
        assert await it.ok("logs", "-f", "web") == "done\n"
        await asyncio.sleep(0.2)
        assert it.fleet.released == ["c-0"]


async def test_a_malformed_manifest_is_refused_with_its_field(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        ran = await it.kubectl("apply", "-f", "-", stdin=manifest(container={"image": ""}))
        assert ran.code != 0
        assert "spec.containers[0].image: Required value" in ran.err
        ran = await it.kubectl(
            "apply", "-f", "-", stdin=manifest(volumes=[{"name": "a", "awsElasticBlockStore": {"volumeID": "b"}}])
        )
        assert "spec.volumes[0].awsElasticBlockStore: Forbidden: chinampa cannot honour this volume" in ran.err


async def test_labels_change_and_the_spec_does_not(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("label", "pod", "web", "tier=front")
        await it.ok("annotate", "pod", "web", "note=x")
        assert "web" in await it.ok("get", "pods", "-l", "tier=front,app in (web,api)")
        assert "No resources" in (await it.kubectl("get", "pods", "-l", "tier=back")).err
        ran = await it.kubectl("apply", "-f", "-", stdin=manifest("other"))
        assert "spec.containers[0].command: Forbidden" in ran.err


async def test_namespaces_hold_pods_apart_and_take_them_along(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "namespace", "other")
        await it.ok("-n", "other", "apply", "-f", "-", stdin=manifest())
        assert "No resources" in (await it.kubectl("get", "pods")).err
        assert "other" in await it.ok("get", "pods", "-A")
        await it.ok("delete", "namespace", "other", "--timeout=15s")
        assert "other" not in await it.ok("get", "namespaces")


async def test_a_pod_no_cell_can_be_had_for_says_why(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        it.fleet.refuse = Fault(Kind.INVALID, "pod default/web", "no type has 900000 MiB of memory")
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.until("no type has 900000 MiB", "describe", "pod", "web")
        assert "Pending" in await it.ok("get", "pods")
        await it.ok("delete", "pod", "web", "--timeout=30s")


async def test_watching_shows_each_change(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        process = await asyncio.create_subprocess_exec(
            *it.command("get", "pods", "-w", "--no-headers"), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        try:
            async with asyncio.timeout(20):
                seen = [(await process.stdout.readline()).decode().split()[2]]
                assert seen == ["Running"]
                await it.ok("delete", "pod", "web", "--grace-period=1")
                await it.ok("apply", "-f", "-", stdin=manifest())
                while seen[-1] != "Running" or len(seen) == 1:
                    seen.append((await process.stdout.readline()).decode().split()[2])
            shown = list(dict.fromkeys(seen))
            assert shown[:2] == ["Running", "Terminating"]
            assert "Pending" in shown
            assert "ContainerCreating" in shown
        finally:
            process.terminate()
            await process.wait()


async def test_the_smaller_questions_of_kubectl_are_answered(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        assert "yes" in await it.ok("auth", "can-i", "create", "pods")
        dry = await it.ok("apply", "--dry-run=server", "-f", "-", stdin=manifest())
        assert "created (server dry run)" in dry
        generated = manifest().replace('"name": "web", "labels"', '"generateName": "web-", "labels"')
        await it.ok("create", "-f", "-", stdin=generated)
        await it.ok("create", "-f", "-", stdin=generated)
        await it.until("Running", "get", "pods")
        assert (await it.ok("get", "nodes")).count("Ready") == 2
        events = await it.ok("get", "events", "--field-selector", "reason=Started")
        assert events.count("Started container web") == 2
        await it.ok("delete", "pods", "--all", "--grace-period=1", "--timeout=30s")
        assert "(NotFound)" in (await it.kubectl("get", "pod", "web")).err
        assert "pods" in await it.ok("api-resources")


async def test_without_the_token_nothing_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        ran = await it.kubectl("get", "pods", "--token=guess")
        assert ran.code != 0
        assert "Unauthorized" in ran.err or "logged in" in ran.err
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "kubeconfig").stat().st_mode & 0o777 == 0o600


async def test_a_pod_that_ignores_the_signal_gets_its_grace_and_no_more(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest("trap '' TERM; while true; do sleep 0.1; done"))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        began = time.monotonic()
        await it.ok("delete", "pod", "web", "--grace-period=2")
        assert 1.9 < time.monotonic() - began < 20


async def test_a_second_deletion_shortens_the_grace(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest("trap '' TERM; while true; do sleep 0.1; done"))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        await it.ok("delete", "pod", "web", "--grace-period=60", "--wait=false")
        await it.until("Terminating", "get", "pods")
        await it.ok("delete", "pod", "web", "--grace-period=0", "--force")
        await it.until("", "wait", "--for=delete", "pod/web", "--timeout=30s")
        assert "No resources" in (await it.kubectl("get", "pods")).err


async def test_a_second_deletion_with_as_much_grace_begins_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graces, stop = list[int](), CellDouble.stop

    async def noted(cell: CellDouble, request: cri.StopContainerRequest) -> cri.StopContainerResponse:
        graces.append(request.timeout)
        return await stop(cell, request)

    monkeypatch.setattr(CellDouble, "stop", noted)
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest("trap '' TERM; while true; do sleep 0.1; done"))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        await it.ok("delete", "pod", "web", "--grace-period=1000", "--wait=false")
        await until(lambda: len(graces) == 1)
        await it.ok("delete", "pod", "web", "--grace-period=1000", "--wait=false")
        await it.ok("delete", "pod", "web", "--grace-period=500", "--wait=false")
        await until(lambda: any(one <= 500 for one in graces))
        assert [round(one, -2) for one in graces] == [1000, 500]
        assert not it.fleet.released
        await it.ok("delete", "pod", "web", "--grace-period=0", "--force")


@pytest.mark.parametrize("notice", [True, False])
async def test_a_pod_that_is_deleted_by_force_does_not_wait_for_a_cell_that_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notice: bool
) -> None:
    monkeypatch.setattr(pod_keeper, "LEEWAY", 3600.0)
    monkeypatch.setattr(sandbox_lifecycle, "PATIENCE", 3600.0)
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        (cell,) = it.fleet.cells
        it.fleet.cut_off.add(cell)
        it.fleet.channels[cell].close()
        if notice:
            await it.ok("delete", "pod", "web", "--grace-period=60", "--wait=false")
            await it.until("Terminating", "get", "pods")
        await it.ok("delete", "pod", "web", "--grace-period=0", "--force")
        assert it.fleet.released == [cell]


async def test_init_containers_and_probes_hold_readiness_back(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    init = [{"name": "first", "image": "busybox:1", "command": ["sh", "-c", "sleep 1"]}]
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1}
    async with world(tmp_path) as it:
        spec = manifest(initContainers=init, container={"readinessProbe": probe})
        await it.ok("apply", "-f", "-", stdin=spec)
        await it.until("Init:0/1", "get", "pods")
        await it.until("0/1     Running", "get", "pods")
        flag.touch()
        await it.until("1/1     Running", "get", "pods")
