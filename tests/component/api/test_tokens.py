"""Tokens made, listed and revoked by the command, used by plain kubectl; who did what is written down."""

import asyncio
import json
import shutil
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controller.api import admin
from controller.api.prometheus import Metrics
from tests.support.fake_cloud import FakeCloud
from tests.support.pods_api import PodsApiWorld, Ran, manifest, world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")
RUN = "import sys; from controller.cli import main; sys.exit(main())"


class Site:
    """A pods API with its admin socket, and the command that asks there."""

    def __init__(self, it: PodsApiWorld, config: Path) -> None:
        self.it = it
        self._config = config

    async def chinampa(self, *args: str, command: str = "token") -> Ran:
        pipe = asyncio.subprocess.PIPE
        whole = (sys.executable, "-c", RUN, command, *args, "--config", str(self._config))
        process = await asyncio.create_subprocess_exec(*whole, stdout=pipe, stderr=pipe)
        out, err = await process.communicate()
        return Ran(process.returncode or 0, out.decode(), err.decode())

    async def token(self, *args: str) -> str:
        made = await self.chinampa("create", *args)
        assert made.code == 0, made.err
        return f"--token={made.out.strip()}"

    def notes(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.it.folder / "audit.log").read_text().splitlines()]


@asynccontextmanager
async def site(folder: Path, **own: Any) -> AsyncGenerator[Site]:
    config = folder / "controller.toml"
    config.write_text(f'state = "{folder}"\n[cloud]\nkind = "local"\n')
    async with (
        world(folder, **own) as it,
        admin.running(
            it.fleet, folder, dict, FakeCloud(), Metrics(), tuple, (*admin.cost_routes(it.books), *it.desk.routes())
        ),
    ):
        yield Site(it, config)


async def test_an_editor_of_a_namespace_may_what_the_role_says_and_kubectl_knows(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        it, token = at.it, await at.token("--namespace", "ci", "--role", "edit", "--name", "bob")
        own = ("-n", "ci", token)
        assert "token:bob" in await it.ok("auth", "whoami", token)
        await it.ok("apply", *own, "-f", "-", stdin=manifest())
        await it.ok("wait", "pod/web", "--for=condition=Ready", "--timeout=15s", *own)
        assert "hello" in await it.ok("exec", "web", *own, "--", "echo", "hello")
        for args, answer in (
            (("create", "pods", "-n", "ci"), "yes"),
            (("get", "secrets", "-n", "ci"), "yes"),
            (("create", "pods", "-n", "default"), "no"),
            (("list", "nodes"), "no"),
            (("patch", "resourcequotas", "-n", "ci"), "no"),
            (("create", "pods", "--subresource=exec", "-n", "ci"), "yes"),
        ):
            assert (await it.kubectl("auth", "can-i", *args, token)).out.startswith(answer), args
        for args in (("get", "pods"), ("get", "pods", "-A"), ("get", "nodes"), ("create", "ns", "x")):
            assert "is forbidden" in (await it.kubectl(*args, token)).err, args


async def test_a_viewer_sees_no_secrets_and_opens_no_session(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        it = at.it
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "pod/web", "--for=condition=Ready", "--timeout=15s")
        token = await at.token("--namespace", "default", "--role", "view")
        assert "hello" in await it.ok("logs", "web", token)
        for args in (
            ("exec", "web", "--", "true"),
            ("attach", "web"),
            ("port-forward", "web", "0:80"),
            ("get", "secrets"),
            ("delete", "pod", "web"),
            ("label", "pod", "web", "a=b"),
            ("debug", "web", "--image=busybox"),
        ):
            ran = await it.kubectl(args[0], token, *args[1:])
            assert ran.code != 0, args
            assert "forbidden" in ran.err.lower(), (args, ran.err)


async def test_a_revoked_token_is_over_at_once_its_watches_too(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        it, token = at.it, await at.token("--namespace", "ci", "--role", "view", "--name", "eve", "--expires", "1h")
        listed = await at.chinampa("list")
        assert "eve" in listed.out
        assert token.rpartition(".")[2] not in listed.out
        watching = asyncio.create_task(it.kubectl("get", "configmaps", "-n", "ci", "-w", token, deadline=60))
        await it.ok("create", "configmap", "c", "-n", "ci")
        while not any(one.get("verb") == "create" and one.get("name") == "c" for one in at.notes()):
            await asyncio.sleep(0.05)
        assert (await at.chinampa("revoke", "eve")).code == 0
        ran = await watching
        assert "c " in ran.out or ran.err
        assert "Unauthorized" in (await it.kubectl("get", "pods", "-n", "ci", token)).err
        assert "there is none of this name" in (await at.chinampa("revoke", "eve")).err


async def test_what_was_begun_with_a_token_ends_with_the_tokens_time(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        it = at.it
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "pod/web", "--for=condition=Ready", "--timeout=15s")
        token = await at.token("--namespace", "default", "--role", "edit", "--name", "brief", "--expires", "1h")
        begun = [
            asyncio.create_task(it.kubectl(token, *args, deadline=60))
            for args in (
                ("get", "configmaps", "-w"),
                ("logs", "-f", "web"),
                ("exec", "web", "--", "sleep", "1000"),
            )
        ]
        async with asyncio.timeout(60):
            while not any((one.get("who"), one.get("code")) == ("token:brief", 0) for one in at.notes()):
                await asyncio.sleep(0.05)
        await it.ok("create", "configmap", "c", token)
        assert not any(one.done() for one in begun)
        it.clock.ahead = 3601.0
        await asyncio.gather(*begun)
        assert "Unauthorized" in (await it.kubectl("get", "pods", token)).err


async def test_what_a_service_account_began_ends_with_it(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        it = at.it
        await it.ok("create", "serviceaccount", "robot")
        token = f"--token={(await it.ok('create', 'token', 'robot')).strip()}"
        watching = asyncio.create_task(it.kubectl("get", "configmaps", "-w", token, deadline=60))
        await it.ok("create", "configmap", "c")
        while not any(one.get("verb") == "create" and one.get("name") == "c" for one in at.notes()):
            await asyncio.sleep(0.05)
        assert not watching.done()
        await it.ok("delete", "serviceaccount", "robot")
        await watching
        assert "Unauthorized" in (await it.kubectl("get", "pods", token)).err


async def test_a_namespaces_cells_are_bounded_in_money_number_and_gpus(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        it = at.it
        bounds = ("--most-usd-hour", "0.02", "--most-cells", "5", "--most-gpus", "1")
        token = await at.token("--namespace", "ci", "--name", "thrifty", *bounds)
        await it.ok("apply", "-n", "ci", token, "-f", "-", stdin=manifest())
        two = manifest().replace('"name": "web", "labels"', '"name": "two", "labels"')
        ran = await it.kubectl("apply", "-n", "ci", token, "-f", "-", stdin=two)
        assert "exceeded quota: token-thrifty, requested: chinampa.dev/usd-per-hour=0.0145, used:" in ran.err
        assert "limited: chinampa.dev/usd-per-hour=0.02" in ran.err
        ran = await it.kubectl("delete", "quota", "--all", "-n", "ci", token)
        assert "quotas are changed by the role admin" in ran.err
        await at.chinampa("revoke", "thrifty")
        assert "No resources" in (await it.kubectl("get", "quota", "-n", "ci")).err
        assert "name it with --namespace" in (await at.chinampa("create", "--most-cells", "1")).err


async def test_annotations_that_reach_beyond_a_cell_are_the_admins_but_for_values_of_the_settings(
    tmp_path: Path,
) -> None:
    async with site(tmp_path, allowed={"cloud-route": ("10.8.0.0/16",)}) as at:
        it, token = at.it, await at.token("--namespace", "default")
        for route, code in (("10.8.1.0/24", 0), ("0.0.0.0/0", 1)):
            one = json.loads(manifest())
            one["metadata"] |= {"name": f"p{code}", "annotations": {"chinampa.dev/cloud-route": route}}
            ran = await it.kubectl("apply", token, "-f", "-", stdin=json.dumps(one))
            assert ran.code == code, ran.err
            if code:
                assert "may have the values of api.others_cloud_route only; it lists 10.8.0.0/16" in ran.err
                await it.ok("apply", "-f", "-", stdin=json.dumps(one))


async def test_who_did_what_is_written_down_and_nothing_of_what_secrets_hold(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        it, token = at.it, await at.token("--namespace", "default", "--name", "bob")
        await it.ok("create", "secret", "generic", "s", "--from-literal=k=geheim", token)
        await it.ok("get", "secret", "s", token)
        await it.ok("get", "configmaps", token)
        await it.kubectl("get", "nodes", token)
        await it.kubectl("get", "pods", "--token=wrong")
        await it.ok("apply", "-f", "-", token, stdin=manifest())
        await it.ok("wait", "pod/web", "--for=condition=Ready", "--timeout=15s")
        await it.ok("exec", "web", token, "--", "true")
        await at.chinampa("revoke", "bob")
    found = [(one["who"], one["verb"], one["resource"], one.get("name"), one.get("code")) for one in at.notes()]
    for wanted in (
        ("admin socket", "create", "tokens", "bob", 201),
        ("token:bob", "create", "secrets", "s", 201),
        ("token:bob", "get", "secrets", "s", 200),
        ("token:bob", "list", "nodes", None, 403),
        ("nobody", "list", "pods", None, 401),
        ("token:bob", "create", "pods", "web", 201),
        ("token:bob", "get", "pods", "web", 0),
        ("admin socket", "delete", "tokens", "bob", 200),
    ):
        assert wanted in found, wanted
    assert not any(one["resource"] == "configmaps" for one in at.notes())
    text = (tmp_path / "audit.log").read_text()
    assert "geheim" not in text
    assert "Z2VoZWlt" not in text
    assert token.rpartition(".")[2] not in text
    assert (tmp_path / "audit.log").stat().st_mode & 0o777 == 0o600


async def test_what_pods_have_cost_is_told_by_namespace_and_label_and_of_each_pod(tmp_path: Path) -> None:
    async with site(tmp_path) as at:
        await at.it.ok("apply", "-f", "-", stdin=manifest())
        await at.it.ok("wait", "pod/web", "--for=condition=Ready", "--timeout=15s")
        told = await at.chinampa("--since", "1h", "--by", "namespace,label=app", command="cost")
        assert told.code == 0, told.err
        assert ["default", "web", "0.000242", "0.02"] in [line.split() for line in told.out.splitlines()]
        wide = await at.it.ok("get", "pods", "-o", "wide")
        assert wide.split("\n")[0].split()[-1] == "USD"
        assert wide.split("\n")[1].split()[-1] == "0.000242"
        assert "is none of namespace" in (await at.chinampa("--by", "colour", command="cost")).err
