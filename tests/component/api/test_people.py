"""What the API says of who one is and what one may is what it does."""

import json
import shutil
from pathlib import Path

import pytest

from tests.support.pods_api import manifest, world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")


async def test_the_owner_is_told_the_truth(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        assert "chinampa-owner" in await it.ok("auth", "whoami")
        assert "yes" in await it.ok("auth", "can-i", "create", "deployments")
        ran = await it.kubectl("auth", "can-i", "create", "csidrivers")
        assert ran.out.startswith("no")
        ran = await it.kubectl("auth", "can-i", "create", "nodes")
        assert ran.out.startswith("no")
        listed = await it.ok("auth", "can-i", "--list")
        assert "configmaps" in listed
        assert "csidrivers" not in listed


async def test_nobody_acts_as_somebody_else(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        ran = await it.kubectl("get", "pods", "--as=bob")
        assert ran.code != 0
        assert "impersonation is not served" in ran.err


async def test_a_service_account_may_see_its_namespace_and_with_a_role_change_it(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "serviceaccount", "bot")
        token = f"--token={(await it.ok('create', 'token', 'bot')).strip()}"
        assert "system:serviceaccount:default:bot" in await it.ok("auth", "whoami", token)
        await it.ok("get", "pods", token)
        for args in (("get", "pods", "-A"), ("get", "secrets"), ("create", "configmap", "c"), ("get", "nodes")):
            ran = await it.kubectl(*args, token)
            assert "is forbidden" in ran.err, args
        assert (await it.kubectl("auth", "can-i", "create", "configmaps", token)).out.startswith("no")
        await it.ok("annotate", "serviceaccount", "bot", "chinampa.dev/role=edit")
        assert (await it.ok("auth", "can-i", "create", "configmaps", token)).startswith("yes")
        await it.ok("create", "configmap", "c", token)
        await it.ok("delete", "serviceaccount", "bot")
        assert "Unauthorized" in (await it.kubectl("get", "pods", token)).err


async def test_only_the_owner_may_see_what_the_controller_measures(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "serviceaccount", "bot")
        await it.ok("annotate", "serviceaccount", "bot", "chinampa.dev/role=edit")
        token = f"--token={(await it.ok('create', 'token', 'bot')).strip()}"
        assert "only the role admin may" in (await it.kubectl("get", "--raw", "/metrics", token)).err
        assert "forbidden" not in (await it.kubectl("get", "--raw", "/metrics")).err


async def test_a_token_ends_within_two_days_and_with_the_pod_that_it_is_bound_to(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        made = await it.kubectl("create", "token", "default", "--duration=596523h", "-o", "json")
        assert json.loads(made.out)["spec"]["expirationSeconds"] == 48 * 3600
        assert "shortened to 172800 seconds" in made.err
        for kind, words in (("Secret", "can be bound to a Pod of v1 only"), ("Pod", "not found")):
            bound = ("--bound-object-kind", kind, "--bound-object-name", "web")
            assert words in (await it.kubectl("create", "token", "default", *bound)).err
        await it.ok("apply", "-f", "-", stdin=manifest())
        bound = ("--bound-object-kind", "Pod", "--bound-object-name", "web")
        token = f"--token={(await it.ok('create', 'token', 'default', *bound)).strip()}"
        await it.ok("get", "pods", token)
        await it.ok("delete", "pod", "web", "--now")
        assert "Unauthorized" in (await it.kubectl("get", "pods", token)).err
        wrong = json.dumps({"spec": {"audiences": [1]}})
        ran = await it.kubectl(
            "create", "--raw", "/api/v1/namespaces/default/serviceaccounts/default/token", "-f", "-", stdin=wrong
        )
        assert "is no TokenRequest" in ran.err
