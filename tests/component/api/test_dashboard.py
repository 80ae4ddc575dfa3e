"""The dashboard, in a real browser: who may see what, and a pod's log and terminal by kubectl's own streams."""

from __future__ import annotations

import json
import os
import ssl
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
import yaml

from tests.support.browser import PROGRAM, page
from tests.support.pods_api import PodsApiWorld, manifest, world

# A browser and a server in one process's time.
pytestmark = [pytest.mark.timeout(180)]
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="NOT RUN: there is no Chromium here (scripts/setup browser)")


def _server(it: PodsApiWorld) -> tuple[str, str]:
    """Where the API is, and its owner's token."""
    config = yaml.safe_load(Path(it.kubeconfig).read_text())
    return config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]


def _picture(name: str) -> Path | None:
    """Where a person who changes the looks wants to see them."""
    folder = os.environ.get("DASHBOARD_PICTURES")
    return Path(folder) / name if folder else None


@needs_browser
async def test_somebody_logs_in_sees_why_a_pod_waits_and_reads_and_types_into_another(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest("echo hello from the pod; sleep 1000"))
        volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "ledger"}}]
        waiting = json.loads(manifest(volumes=volumes))
        waiting["metadata"]["name"] = "waits"
        await it.ok("apply", "-f", "-", stdin=json.dumps(waiting))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
        url, token = _server(it)
        async with page(tmp_path, f"{url}/ui") as shown:
            await shown.shows("Log in", "#login")
            await shown.value("document.querySelector('#token').focus()")
            await shown.type("not-a-token\n")
            await shown.shows("does not know this token", "#login-fault")
            await shown.type(f"{token}\n")
            await shown.shows("web", "#pods")
            await shown.shows('persistentvolumeclaim "ledger" not found', "#pods tr[data-key='default/waits']")
            await shown.shows("FailedScheduling", "#faults")
            await shown.shows("c-0", "#cells")
            for name, dark in (("light.png", False), ("dark.png", True)):
                if (file := _picture(name)) is not None:
                    await shown.picture(file, dark=dark)
            await shown.click("#pods tr[data-key='default/web'] button:nth-of-type(1)")
            await shown.shows("hello from the pod", "#session-log")
            await shown.click("#session-close")
            await shown.click("#pods tr[data-key='default/web'] button:nth-of-type(2)")
            await shown.shows("connected", "#session-state")
            await shown.type("echo $((6*7))-from-$(stty size | tr ' ' x)\n")
            await shown.shows("42-from-", "#session-terminal")
            if (file := _picture("terminal.png")) is not None:
                await shown.picture(file)
            await shown.type("exit 3\n")
            await shown.shows("command terminated with non-zero exit code", "#session-state")
            await shown.click("#session-close")
            await shown.click("#leave")
            await shown.shows("Log in", "#login")
            assert await shown.value("sessionStorage.length") == 0
        asked = [one for one in shown.asked if urlsplit(one).scheme not in {"data", "about"}]
        assert {urlsplit(one).netloc for one in asked} == {urlsplit(url).netloc}
        assert not [one for one in asked if token in one or "not-a-token" in one]
        assert shown.complaints == []


async def test_the_files_are_anybodys_and_what_they_show_is_not(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "namespace", "ci")
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=20s")
        await it.ok("create", "serviceaccount", "viewer", "-n", "ci")
        theirs = (await it.ok("create", "token", "viewer", "-n", "ci")).strip()
        url, token = _server(it)
        anything = ssl.create_default_context()
        anything.check_hostname, anything.verify_mode = False, ssl.CERT_NONE
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=anything)) as client:
            async with client.get(f"{url}/ui") as answer:
                assert answer.status == 200
                assert str(answer.url) == f"{url}/ui/"
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
            async with client.get(f"{url}/ui/overview") as answer:
                assert answer.status == 401
            async with client.get(f"{url}/ui/overview", headers={"Authorization": f"Bearer {token}"}) as answer:
                everything = await answer.json()
            async with client.get(f"{url}/ui/overview", headers={"Authorization": f"Bearer {theirs}"}) as answer:
                own = await answer.json()
        assert [one["name"] for one in everything["pods"]] == ["web"]
        assert [one["pod"] for one in everything["cells"]] == ["default/web"]
        assert (own["namespace"], own["pods"], own["cells"], own["faults"]) == ("ci", [], [], [])
