"""What holds for every kind alike, asked by plain kubectl."""

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.pods_api import PodsApiWorld, manifest, world

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1"}}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "other"}}


def owned(name: str, owner: list[dict[str, str]]) -> dict[str, Any]:
    return {**CONFIG_MAP, "metadata": {"name": name, "ownerReferences": owner}}


async def everything(it: PodsApiWorld) -> str:
    return await it.ok("get", "pods,namespaces,configmaps,secrets", "-A", "-o", "jsonpath={.items[*].metadata}")


async def test_a_dry_run_writes_nothing_whatever_the_kind_and_the_verb(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "-f", "-", stdin=json.dumps(NAMESPACE))
        await it.ok("create", "-f", "-", stdin=json.dumps(CONFIG_MAP))
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        before = await everything(it)
        dry = "--dry-run=server"
        for args in (
            ("delete", "ns", "other", dry),
            ("create", "ns", "third", dry),
            ("label", "ns", "other", "a=b", dry),
            ("delete", "configmap", "c", dry),
            ("delete", "configmaps", "--all", dry),
            ("annotate", "configmap", "c", "a=b", dry),
            ("create", "secret", "generic", "s", "--from-literal=a=b", dry),
            ("label", "pod", "web", "tier=x", dry),
            ("delete", "pods", "--all", dry),
            ("set", "image", "pod/web", "web=busybox:2", dry),
        ):
            await it.ok(*args)
        await it.ok(
            "apply",
            "--server-side",
            "--force-conflicts",
            dry,
            "-f",
            "-",
            stdin=json.dumps({**CONFIG_MAP, "data": {"a": "2"}}),
        )
        ran = await it.kubectl("diff", "-f", "-", stdin=json.dumps({**CONFIG_MAP, "data": {"a": "2"}}))
        assert (ran.code, '+  a: "2"' in ran.out) == (1, True), ran.out + ran.err
        assert await everything(it) == before


async def test_what_the_server_shows_can_be_sent_again_even_under_another_name(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        shown = await it.ok("get", "pod", "web", "-o", "yaml")
        await it.ok("replace", "--force", "--grace-period=1", "-f", "-", stdin=shown, deadline=40)
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s", deadline=40)
        renamed = shown.replace("  name: web\n  namespace", "  name: twin\n  namespace")
        await it.ok("create", "-f", "-", stdin=renamed)
        await it.ok("wait", "--for=condition=Ready", "pod/twin", "--timeout=30s", deadline=40)


async def test_of_many_who_create_a_pod_of_one_name_at_once_one_does_and_it_has_one_cell(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(it.kubectl("create", "-f", "-", stdin=manifest("web"))) for _ in range(6)]
        refused = [one.result().err for one in asked if one.result().code]
        assert len(refused) == 5
        assert all('pods "web" already exists' in said for said in refused)
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        assert len(it.fleet.doubles) == 1


async def test_our_annotations_choose_the_cell_and_cannot_change_afterwards(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        wrong = json.loads(manifest())
        wrong["metadata"]["annotations"] = {"chinampa.dev/instance-tipe": "a", "chinampa.dev/max-price": "dear"}
        ran = await it.kubectl("apply", "-f", "-", stdin=json.dumps(wrong))
        assert "chinampa.dev/instance-tipe" in ran.err
        assert "chinampa.dev/max-price" in ran.err
        await it.ok("apply", "-f", "-", stdin=manifest())
        ran = await it.kubectl("annotate", "pod", "web", "chinampa.dev/zone=z")
        assert "metadata.annotations[chinampa.dev/zone]: Forbidden" in ran.err


async def test_a_pod_changes_as_kubernetes_lets_it_and_other_changes_name_their_field(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        await it.ok("set", "image", "pod/web", "web=busybox:2")
        await it.until("definition changed, will be restarted", "describe", "pod", "web")
        await it.until('"image":"busybox:2"', "get", "pod", "web", "-o", "jsonpath={.status.containerStatuses}")
        await it.until("1", "get", "pod", "web", "-o", "jsonpath={.status.containerStatuses[0].restartCount}")
        await it.ok("patch", "pod", "web", "-p", '{"spec":{"activeDeadlineSeconds":600}}')
        ran = await it.kubectl("patch", "pod", "web", "-p", '{"spec":{"activeDeadlineSeconds":700}}')
        assert "spec.activeDeadlineSeconds: Forbidden" in ran.err
        await it.ok("patch", "pod", "web", "-p", '{"spec":{"tolerations":[{"key":"a","operator":"Exists"}]}}')
        ran = await it.kubectl("patch", "pod", "web", "-p", '{"spec":{"hostNetwork":true,"hostname":"x"}}')
        assert "spec.hostNetwork: Forbidden" in ran.err
        assert "spec.hostname: Forbidden" in ran.err


async def test_server_side_apply_keeps_book_of_managers_and_their_conflicts(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        apply = ("apply", "--server-side", "-f", "-")
        await it.ok(*apply, stdin=json.dumps(CONFIG_MAP))
        other = json.dumps({**CONFIG_MAP, "data": {"a": "2", "b": "3"}})
        ran = await it.kubectl(*apply, "--field-manager=other", stdin=other)
        assert 'conflict with "kubectl": .data.a' in ran.err
        await it.ok(*apply, "--field-manager=other", "--force-conflicts", stdin=other)
        await it.ok(*apply, "--field-manager=other", stdin=json.dumps({**CONFIG_MAP, "data": {"a": "2"}}))
        assert json.loads(await it.ok("get", "cm", "c", "-o", "jsonpath={.data}")) == {"a": "2"}
        shown = json.loads(await it.ok("get", "cm", "c", "-o", "json", "--show-managed-fields"))
        assert {one["manager"] for one in shown["metadata"]["managedFields"]} == {"other"}
        await it.ok("apply", "--server-side", "-f", "-", stdin=manifest())
        await it.ok("apply", "--server-side", "-f", "-", stdin=manifest())


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("explain", "pod.spec.containers"), "A container: an image"),
        (("explain", "pod.spec.containers"), "The ports that are meant to be reached."),
        (("explain", "configmap.data"), "map[string]string"),
        (("explain", "pods", "--recursive"), "terminationGracePeriodSeconds"),
        (("cluster-info",), "is running at"),
        (("version",), "v1.32.0+chinampa"),
        (("api-resources",), "configmaps"),
        (("get", "all"), ""),
        (("get", "--raw", "/api/v1/namespaces/default/configmaps?limit=1"), "ConfigMapList"),
    ],
)
async def test_kubectls_own_questions_are_answered(tmp_path: Path, args: tuple[str, ...], words: str) -> None:
    async with world(tmp_path) as it:
        assert words in await it.ok(*args)


async def test_a_kind_that_is_not_served_is_refused_in_a_sentence(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        guard: dict[str, Any] = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "d"},
        }
        ran = await it.kubectl("apply", "-f", "-", stdin=json.dumps(guard))
        assert ran.code != 0
        assert "ValidatingWebhookConfiguration is not served here: nothing would call it" in ran.err
        assert "this server runs " in ran.err


async def test_whoever_looks_for_such_kinds_finds_none_and_is_told_why(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for args in (("get", "runtimeclasses"), ("get", "csidrivers", "-o", "json")):
            ran = await it.kubectl(*args)
            assert ran.code == 0
            assert "Warning: " in ran.err
            assert "is not served here" in ran.err
        await it.ok("cluster-info", "dump")
        await it.ok("create", "deployment", "d", "--image=busybox", "--replicas=0")
        ran = await it.kubectl("autoscale", "deployment", "d", "--max=3")
        assert (ran.code, "use kubectl scale" in ran.err) == (0, True), ran


async def test_nodes_are_written_by_nobody_and_the_answer_says_why(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "pod/web", "--for=condition=Ready", "--timeout=15s")
        for args in (("cordon", "c-0"), ("label", "node", "c-0", "a=b"), ("delete", "node", "c-0")):
            ran = await it.kubectl(*args)
            assert "cannot be written: a cell lives and ends with its pod; delete the pod" in ran.err


async def test_unknown_and_doubled_fields_are_refused_with_strict_validation(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        ran = await it.kubectl("apply", "-f", "-", stdin=json.dumps({**CONFIG_MAP, "dta": {}}))
        assert 'unknown field "dta"' in ran.err
        ran = await it.kubectl("create", "--validate=warn", "-f", "-", stdin=json.dumps({**CONFIG_MAP, "dta": {}}))
        assert 'Warning: unknown field "dta"' in ran.err
        assert ran.code == 0


async def test_lists_come_in_pieces_and_finalizers_hold_a_deletion_back(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for number in range(5):
            await it.ok("create", "configmap", f"c{number}")
        assert len((await it.ok("get", "cm", "--chunk-size=2", "-o", "name")).split()) == 5
        await it.ok("patch", "cm", "c0", "-p", '{"metadata":{"finalizers":["a/b"]}}')
        await it.ok("delete", "cm", "c0", "--wait=false")
        assert "deletionTimestamp" in await it.ok("get", "cm", "c0", "-o", "yaml")
        await it.ok("patch", "cm", "c0", "--type=json", "-p", '[{"op":"remove","path":"/metadata/finalizers"}]')
        assert "(NotFound)" in (await it.kubectl("get", "cm", "c0")).err


async def test_what_is_owned_goes_with_its_owner_unless_it_is_orphaned(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "configmap", "owner")
        uid = await it.ok("get", "cm", "owner", "-o", "jsonpath={.metadata.uid}")
        owner = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid}]
        await it.ok("create", "-f", "-", stdin=json.dumps(owned("owned", owner)))
        await it.ok("delete", "cm", "owner", "--cascade=orphan")
        assert "owned" in await it.ok("get", "cm", "-o", "name")
        await it.ok("create", "-f", "-", stdin=json.dumps(owned("next", owner)))
        await it.ok("wait", "--for=delete", "cm/next", "--timeout=15s")


async def test_secrets_are_sealed_in_the_store(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "secret", "generic", "s", "--from-literal=password=correct-horse")
        assert "correct-horse" in await it.ok("get", "secret", "s", "--template={{.data.password | base64decode}}")
        assert "Opaque" in await it.ok("get", "secrets")
        written = b"".join(path.read_bytes() for path in tmp_path.glob("records.sqlite*"))
        assert b"password" not in written
        assert b"Y29ycmVjdC1ob3JzZQ" not in written


async def test_a_container_is_put_into_a_running_pod_or_into_a_copy_of_it(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        debug = ("debug", "web", "--image=busybox:1")
        await it.ok(*debug, "--container=look", "--target=web", "--", "sh", "-c", "echo looked")
        await it.until("looked", "logs", "web", "-c", "look")
        await it.until("Completed", "get", "pod", "web", "-o", "jsonpath={.status.ephemeralContainerStatuses}")
        assert "1/1" in await it.ok("get", "pod", "web")
        await it.ok(*debug, "--copy-to=twin", "--container=look", "--", "sleep", "1000")
        await it.until("2/2", "get", "pod", "twin")


async def test_hooks_run_after_the_start_and_before_the_end(tmp_path: Path) -> None:
    begun, ended = tmp_path / "begun", tmp_path / "ended"
    hooks = {
        "postStart": {"exec": {"command": ["touch", str(begun)]}},
        "preStop": {"exec": {"command": ["touch", str(ended)]}},
    }
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest(container={"lifecycle": hooks}))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        assert (begun.exists(), ended.exists()) == (True, False)
        await it.ok("delete", "pod", "web", "--grace-period=5", deadline=30)
        assert ended.exists()


async def test_a_hook_that_fails_after_the_start_ends_the_container(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        hook = {"postStart": {"exec": {"command": ["false"]}}}
        await it.ok("apply", "-f", "-", stdin=manifest(container={"lifecycle": hook}, terminationGracePeriodSeconds=1))
        await it.until("FailedPostStartHook", "describe", "pod", "web")


async def test_server_side_apply_to_a_status_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    service: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}},
    }
    async with world(tmp_path) as it:
        await it.ok("create", "-f", "-", stdin=json.dumps(service))
        changed = {**service, "spec": {**service["spec"], "selector": {"a": "c"}}}
        args = ("apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-")
        ran = await it.kubectl(*args, stdin=json.dumps(changed))
        assert "server-side apply to the subresource status is not served" in ran.err
        assert await it.ok("get", "service", "s", "-o", "jsonpath={.spec.selector.a}") == "b"


async def test_an_event_that_could_not_be_read_again_is_refused(tmp_path: Path) -> None:
    about = {"kind": "Pod", "name": "web", "namespace": "default"}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "involvedObject": about}
    async with world(tmp_path) as it:
        ran = await it.kubectl("create", "-f", "-", stdin=json.dumps({**event, "involvedObject": {}}))
        assert "involvedObject.kind of an event must not be empty" in ran.err
        ran = await it.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps({**event, "count": 10**26}))
        assert ran.code != 0
        await it.ok("create", "-f", "-", stdin=json.dumps(event))


async def test_zeros_that_a_go_client_writes_into_protobuf_are_the_same_as_none(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "deployment", "web", "--image=busybox:1", "--port=8080", "--replicas=0")
        port = "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].ports[0]}"
        assert await it.ok("get", "deployment", "web", "-o", port) == '0 {"containerPort":8080,"protocol":"TCP"}'
