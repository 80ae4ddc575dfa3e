"""What somebody's finalizer keeps, and what keeps a claim and its volume: as kubectl shows it and lets it go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.cells_double import cells
from tests.support.pods_api import PodsApiWorld, world

WAITS = ["example.com/waits"]
POD: dict[str, Any] = {"containers": [{"name": "main", "image": "busybox:1"}], "terminationGracePeriodSeconds": 1}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD}
SELECTOR = {"matchLabels": {"app": "web"}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
VOLUME = {**CLAIM, "capacity": {"storage": "1Gi"}, "nfs": {"server": "192.0.2.1", "path": "/"}}
del VOLUME["resources"]
JOB = {"suspend": True, "template": {**TEMPLATE, "spec": {**POD, "restartPolicy": "Never"}}}
KINDS: dict[str, dict[str, Any]] = {
    "ConfigMap": {"apiVersion": "v1", "data": {"a": "b"}},
    "CronJob": {"apiVersion": "batch/v1", "spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": JOB}}},
    "Deployment": {"apiVersion": "apps/v1", "spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE}},
    "Job": {"apiVersion": "batch/v1", "spec": JOB},
    "NetworkPolicy": {"apiVersion": "networking.k8s.io/v1", "spec": {"podSelector": {}}},
    "PersistentVolumeClaim": {"apiVersion": "v1", "spec": CLAIM},
    "Pod": {"apiVersion": "v1", "spec": POD},
    "Secret": {"apiVersion": "v1", "stringData": {"a": "b"}},
    "Service": {"apiVersion": "v1", "spec": {"ports": [{"port": 80}]}},
    "ServiceAccount": {"apiVersion": "v1"},
    "StatefulSet": {
        "apiVersion": "apps/v1",
        "spec": {"replicas": 0, "selector": SELECTOR, "template": TEMPLATE, "serviceName": "kept"},
    },
}


def named(kind: str, name: str = "kept", **metadata: Any) -> str:
    return json.dumps({"kind": kind, "metadata": {"name": name, **metadata}, **KINDS[kind]})


async def let_go(it: PodsApiWorld, kind: str, name: str = "kept") -> None:
    await it.ok("patch", kind, name, "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
    await it.ok("wait", "--for=delete", f"{kind}/{name}", "--timeout=15s")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_object_of_any_kind_stays_until_its_last_finalizer_is_taken_off(tmp_path: Path, kind: str) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "-f", "-", stdin=named(kind, finalizers=WAITS))
        await it.ok("delete", kind, "kept", "--wait=false")
        await it.until("example.com/waits", "get", kind, "kept", "-o", "jsonpath={.metadata}")
        assert "deletionTimestamp" in await it.ok("get", kind, "kept", "-o", "yaml")
        more = json.dumps({"metadata": {"finalizers": [*WAITS, "example.com/late"]}})
        refused = await it.kubectl("patch", kind, "kept", "--type=merge", "-p", more)
        assert "no new finalizers can be added if the object is being deleted" in refused.err
        await let_go(it, kind)


async def test_a_pod_that_a_finalizer_keeps_has_ended_and_given_its_cell_back(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "-f", "-", stdin=named("Pod", finalizers=WAITS))
        await it.ok("wait", "--for=condition=Ready", "pod/kept", "--timeout=30s")
        await it.ok("delete", "pod", "kept", "--wait=false")
        await it.ok("wait", "--for=jsonpath={.status.phase}=Failed", "pod/kept", "--timeout=15s")
        assert it.fleet.released
        await it.ok("delete", "pod", "kept", "--wait=false", "--force", "--grace-period=0")
        assert "kept" in await it.ok("get", "pod", "kept")
        await let_go(it, "pod")


async def test_what_finalizers_keep_is_kept_by_the_next_controller_and_let_go_by_it(tmp_path: Path) -> None:
    async with cells() as fleet:
        async with world(tmp_path, fleet) as it:
            for kind in ("Pod", "ConfigMap"):
                await it.ok("create", "-f", "-", stdin=named(kind, finalizers=WAITS))
            await it.ok("wait", "--for=condition=Ready", "pod/kept", "--timeout=30s")
            await it.ok("delete", "pod/kept", "configmap/kept", "--wait=false")
            await it.ok("wait", "--for=jsonpath={.status.phase}=Failed", "pod/kept", "--timeout=15s")
        async with world(tmp_path, fleet) as it:
            assert (await it.ok("get", "pod/kept", "configmap/kept", "-o", "name")).split() == [
                "pod/kept",
                "configmap/kept",
            ]
            for kind in ("pod", "configmap"):
                await let_go(it, kind)
        async with world(tmp_path, fleet) as it:
            assert await it.ok("get", "pods", "-o", "name") == ""
        assert len(fleet.doubles) == 1


async def test_a_namespace_stays_while_a_finalizer_holds_it_or_anything_in_it(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "held", "finalizers": WAITS}}
        await it.ok("create", "-f", "-", stdin=json.dumps(space))
        await it.ok("create", "-n", "held", "-f", "-", stdin=named("ConfigMap", finalizers=WAITS))
        await it.ok("delete", "ns", "held", "--wait=false")
        await it.until("deletionTimestamp", "get", "cm", "kept", "-n", "held", "-o", "yaml")
        said = "Some content in the namespace has finalizers remaining: example.com/waits in 1 resource instances"
        await it.until(said, "describe", "ns", "held")
        await it.ok("patch", "cm", "kept", "-n", "held", "--type=merge", "-p", '{"metadata":{"finalizers":null}}')
        await it.ok("wait", "--for=delete", "cm/kept", "-n", "held", "--timeout=15s")
        assert "Terminating" in await it.ok("get", "ns", "held")
        await let_go(it, "ns", "held")


async def test_a_name_that_is_no_finalizer_is_refused(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        refused = await it.kubectl("create", "-f", "-", stdin=named("ConfigMap", finalizers=["not one"]))
        assert 'metadata.finalizers: Invalid value: "not one"' in refused.err
        both = await it.kubectl("create", "-f", "-", stdin=named("Secret", finalizers=["orphan", "foregroundDeletion"]))
        assert "cannot be both set" in both.err


async def test_a_claim_stays_while_a_pod_has_it_and_its_volume_while_the_claim_is_there(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "disk"}, "spec": VOLUME}
        await it.ok("create", "-f", "-", stdin=json.dumps(volume))
        await it.ok("create", "-f", "-", stdin=named("PersistentVolumeClaim"))
        await it.until("Bound", "get", "pvc", "kept")
        assert "kubernetes.io/pvc-protection" in await it.ok("describe", "pvc", "kept")
        assert "kubernetes.io/pv-protection" in await it.ok("describe", "pv", "disk")
        claimed = {"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}
        pod = {"apiVersion": "v1", "kind": "Pod", "spec": {**POD, "volumes": [claimed]}}
        await it.ok("create", "-f", "-", stdin=json.dumps({**pod, "metadata": {"name": "user"}}))
        await it.until("c-0", "get", "pod", "user", "-o", "jsonpath={.spec.nodeName}")

        await it.ok("delete", "pvc", "kept", "--wait=false")
        await it.ok("delete", "pv", "disk", "--wait=false")
        # Who asks for the claim now waits without a cell, and both are as they were for who has it.
        await it.ok("create", "-f", "-", stdin=json.dumps({**pod, "metadata": {"name": "late"}}))
        await it.until('"kept" is being deleted', "describe", "pod", "late")
        assert "Terminating" in await it.ok("get", "pvc", "kept")
        assert "Terminating" in await it.ok("get", "pv", "disk")
        phases = "jsonpath={.items[*].status.phase}"
        assert await it.ok("get", "pv,pvc", "-o", phases) == "Bound Bound"

        await it.ok("delete", "pod", "user")
        for kept in ("pvc/kept", "pv/disk"):
            await it.ok("wait", "--for=delete", kept, "--timeout=15s")


async def test_what_is_deleted_before_what_it_owns_waits_for_it(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "-f", "-", stdin=named("ConfigMap", "owner"))
        uid = await it.ok("get", "cm", "owner", "-o", "jsonpath={.metadata.uid}")
        owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}
        holds = named("ConfigMap", "holds", finalizers=WAITS, ownerReferences=[{**owner, "blockOwnerDeletion": True}])
        await it.ok("create", "-f", "-", stdin=holds)
        await it.ok("delete", "cm", "owner", "--cascade=foreground", "--wait=false")
        await it.until("deletionTimestamp", "get", "cm", "holds", "-o", "yaml")
        assert "foregroundDeletion" in await it.ok("get", "cm", "owner", "-o", "yaml")
        await let_go(it, "cm", "holds")
        await it.ok("wait", "--for=delete", "cm/owner", "--timeout=15s")


async def test_what_a_pod_owns_outlives_it_where_it_is_orphaned(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "-f", "-", stdin=named("Pod", "owner"))
        uid = await it.ok("get", "pod", "owner", "-o", "jsonpath={.metadata.uid}")
        owner = {"apiVersion": "v1", "kind": "Pod", "name": "owner", "uid": uid, "blockOwnerDeletion": True}
        await it.ok("create", "-f", "-", stdin=named("ConfigMap", "stays", ownerReferences=[owner]))
        await it.ok("delete", "pod", "owner", "--cascade=orphan")
        assert await it.ok("get", "cm", "stays", "-o", "jsonpath={.metadata.ownerReferences}") in ("", "[]")
        again = await it.ok("create", "-f", "-", "-o", "jsonpath={.metadata.uid}", stdin=named("Pod", "owner"))
        held = named("ConfigMap", "held", finalizers=WAITS, ownerReferences=[{**owner, "uid": again}])
        await it.ok("create", "-f", "-", stdin=held)
        await it.ok("delete", "pod", "owner", "--cascade=foreground", "--wait=false")
        await it.until("deletionTimestamp", "get", "cm", "held", "-o", "yaml")
        assert "foregroundDeletion" in await it.ok("get", "pod", "owner", "-o", "yaml")
        await let_go(it, "cm", "held")
        await it.ok("wait", "--for=delete", "pod/owner", "--timeout=15s")
