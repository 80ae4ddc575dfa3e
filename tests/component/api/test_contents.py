"""Volumes and variables that a pod takes from objects, by plain kubectl."""

import asyncio
import base64
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.pods_api import PodsApiWorld, manifest, world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")


def volume(it: PodsApiWorld, name: str) -> dict[str, bytes]:
    """The files of a volume as a process on the (only) cell sees them."""
    (double,) = it.fleet.doubles.values()
    for folder, tree in double.trees.items():
        if folder.endswith(f"/volumes/{name}"):
            tops = [top for top in tree if not top.startswith(".")]
            return {top: tree[f"{tree['..data'].decode()}/{top}"] for top in tops}
    return {}


async def seen(it: PodsApiWorld, name: str, wanted: dict[str, bytes]) -> None:
    for _ in range(150):
        if volume(it, name) == wanted:
            return
        await asyncio.sleep(0.1)
    assert volume(it, name) == wanted


async def test_a_config_map_changes_under_a_running_pod(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "configmap", "c", "--from-literal=greeting=hello")
        volumes = [{"name": "v", "configMap": {"name": "c"}}]
        mounts = [{"name": "v", "mountPath": "/etc/c"}]
        await it.ok("apply", "-f", "-", stdin=manifest(volumes=volumes, container={"volumeMounts": mounts}))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        await seen(it, "v", {"greeting": b"hello"})
        await it.ok("patch", "configmap", "c", "-p", '{"data":{"greeting":"goodbye","more":"x"}}')
        await seen(it, "v", {"greeting": b"goodbye", "more": b"x"})


async def test_a_pod_waits_for_an_object_that_comes_later_and_says_which(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        volumes = [{"name": "v", "secret": {"secretName": "late"}}]
        await it.ok("apply", "-f", "-", stdin=manifest(volumes=volumes))
        await it.until('secret "late" not found', "describe", "pod", "web")
        await it.ok("create", "secret", "generic", "late", "--from-literal=a=b")
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s", deadline=35)


async def test_variables_come_from_config_maps_and_secrets_and_are_not_expanded(tmp_path: Path) -> None:
    env: list[dict[str, Any]] = [
        {"name": "ONE", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}},
        {"name": "TWO", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "absent", "optional": True}}},
        {"name": "THREE", "value": "$(P_own) $(ONE)"},
    ]
    source = [{"prefix": "P_", "configMapRef": {"name": "c"}}, {"secretRef": {"name": "none", "optional": True}}]
    async with world(tmp_path) as it:
        given = manifest("env; sleep 1000", container={"env": env, "envFrom": source})
        await it.ok("apply", "-f", "-", stdin=given)
        await it.until("CreateContainerConfigError", "get", "pods")
        assert 'configmap "c" not found' in await it.ok("describe", "pod", "web")
        await it.ok("create", "configmap", "c", "--from-literal=own=$(HOME) costs 3$$")
        await it.ok("create", "secret", "generic", "s", "--from-literal=word=hush")
        out = await it.until("THREE=", "logs", "web", deadline=40)
        lines = out.splitlines()
        assert "P_own=$(HOME) costs 3$$" in lines
        assert "ONE=hush" in lines
        assert "THREE=$(HOME) costs 3$$ hush" in lines
        assert not [line for line in lines if line.startswith("TWO=")]


async def test_a_projected_volume_gathers_fields_objects_and_a_token_that_this_api_takes(tmp_path: Path) -> None:
    labels = {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}
    sources = [
        {"downwardAPI": {"items": [labels]}},
        {"configMap": {"name": "c", "items": [{"key": "a", "path": "sub/a"}]}},
        {"serviceAccountToken": {"path": "token"}},
    ]
    async with world(tmp_path) as it:
        await it.ok("create", "configmap", "c", "--from-literal=a=1")
        await it.ok("apply", "-f", "-", stdin=manifest(volumes=[{"name": "v", "projected": {"sources": sources}}]))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        (double,) = it.fleet.doubles.values()
        (tree,) = [tree for folder, tree in double.trees.items() if folder.endswith("/volumes/v")]
        generation = tree["..data"].decode()
        assert tree[f"{generation}/labels"] == b'app="web"\n'
        assert tree[f"{generation}/sub/a"] == b"1"
        token = tree[f"{generation}/token"].decode()
        claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
        assert claims["sub"] == "system:serviceaccount:default:default"
        assert claims["kubernetes.io"]["pod"]["name"] == "web"
        await it.ok("label", "pod", "web", "tier=front")
        await seen(it, "v", {"labels": b'app="web"\ntier="front"\n', "token": token.encode(), "sub": b""})


async def test_images_are_pulled_with_the_logins_of_pull_secrets(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        login = ("--docker-server=registry.test", "--docker-username=ann", "--docker-password=pw")
        await it.ok("create", "secret", "docker-registry", "login", *login)
        given = manifest(imagePullSecrets=[{"name": "login"}], container={"image": "registry.test/web:1"})
        await it.ok("apply", "-f", "-", stdin=given)
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        (double,) = it.fleet.doubles.values()
        assert double.logins == [("ann", "pw")]


async def test_an_image_that_is_a_volume_is_pulled_with_the_login_for_its_own_registry(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for name, host, user in (("code", "code.test", "ann"), ("models", "models.test/team", "bob")):
            login = (f"--docker-server={host}", f"--docker-username={user}", "--docker-password=pw")
            await it.ok("create", "secret", "docker-registry", name, *login)
        shown = {"name": "m", "image": {"reference": "models.test/team/model:1"}}
        mounted = {"image": "code.test/web:1", "volumeMounts": [{"name": "m", "mountPath": "/m"}]}
        secrets = [{"name": "code"}, {"name": "models"}]
        given = manifest(imagePullSecrets=secrets, container=mounted, volumes=[shown])
        await it.ok("apply", "-f", "-", stdin=given)
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        (double,) = it.fleet.doubles.values()
        assert sorted(double.logins) == [("ann", "pw"), ("bob", "pw")]
