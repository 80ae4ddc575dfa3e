"""ResourceQuotas with plain kubectl: refused with the numbers, and told what is used."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.support.pods_api import manifest, world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")


def _named(name: str) -> str:
    one = json.loads(manifest())
    one["metadata"]["name"] = name
    return json.dumps(one)


async def test_pods_beyond_a_quota_are_refused_and_the_rest_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "quota", "q", "--hard=pods=2,count/configmaps=2")
        made = await asyncio.gather(*(it.kubectl("apply", "-f", "-", stdin=_named(f"p{n}")) for n in range(4)))
        assert sorted(one.code for one in made) == [0, 0, 1, 1]
        words = "is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
        assert all(words in one.err for one in made if one.code)
        await it.until("pods              2     2", "describe", "quota", "q")
        await it.ok("create", "configmap", "a")
        assert (
            "count/configmaps=1"
            in (await it.kubectl("create", "configmap", "b")).out
            + (await it.kubectl("create", "configmap", "c", "--dry-run=server")).err
        )
        await it.ok("delete", "pods", "--all", "--now")
        await it.ok("apply", "-f", "-", stdin=_named("p9"))


async def test_cells_of_a_namespace_cost_no_more_than_its_quota(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "quota", "money", "--hard=chinampa.dev/usd-per-hour=0.02")
        await it.ok("apply", "-f", "-", stdin=_named("one"))
        ran = await it.kubectl("apply", "-f", "-", stdin=_named("two"))
        words = "requested: chinampa.dev/usd-per-hour=0.0145, used: chinampa.dev/usd-per-hour=0.0145"
        assert words in ran.err
        assert "limited: chinampa.dev/usd-per-hour=0.02\n" in ran.err


async def test_a_deployment_says_which_quota_holds_it_back(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "quota", "q", "--hard=pods=1")
        await it.ok("create", "deployment", "d", "--image=busybox", "--replicas=2")
        await it.until("exceeded quota: q", "get", "events", "--field-selector=reason=FailedCreate")
        await it.ok("patch", "quota", "q", "-p", '{"spec":{"hard":{"pods":"2"}}}')
        await it.ok("rollout", "status", "deployment/d", "--timeout=20s", deadline=30)


async def test_a_quota_of_what_is_not_counted_says_so(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        ran = await it.kubectl("create", "quota", "q", "--hard=pods=1,requests.storage=1Gi")
        assert "spec.hard[requests.storage]: nothing is counted against it here" in ran.err
        assert "spec.hard[pods]" not in ran.err
