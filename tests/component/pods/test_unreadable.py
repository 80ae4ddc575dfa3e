"""A pod that an older version wrote and that cannot be read now: told in a sentence, and no matter to the others."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from controller.store import sqlite
from tests.support.pods_api import manifest, world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")
PODS, EVENTS = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/events"


async def test_its_events_say_why_it_does_not_run_others_do_and_it_can_be_deleted(tmp_path: Path) -> None:
    metadata = {"name": "old", "namespace": "default", "uid": "u"}
    spec = {"containers": [{"name": "old", "image": "busybox:1", "tty": "yes"}], "terminationGracePeriodSeconds": 1}
    async with sqlite.running(tmp_path / "records.sqlite") as store:
        await store.put("pod", "u", msgspec.msgpack.encode({"pod": {"metadata": metadata, "spec": spec}, "run": {}}))
    async with world(tmp_path) as it:
        await it.until("cannot be read: Expected `bool`", "get", "--raw", EVENTS)
        assert json.loads(await it.ok("get", "--raw", f"{PODS}/old"))["spec"]["containers"] == spec["containers"]
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        await it.ok("delete", "--raw", f"{PODS}/old")
        await it.ok("wait", "--for=delete", "pod/old", "--timeout=30s")
        assert await it.ok("get", "pods", "-o", "name") == "pod/web\n"
