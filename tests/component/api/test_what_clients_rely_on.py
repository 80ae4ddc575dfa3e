"""What kubectl and generated clients rely on beside the verbs: ports with names, bookkeeping, discovery, reviews."""

import base64
import json
import shutil
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession, TCPConnector, web

from controller.api import yaml_bodies
from tests.support.pods_api import PodsApiWorld, manifest, world
from tests.support.registry import serving

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed: NOTHING here ran")

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "s"},
    "spec": {"selector": {"app": "s"}, "ports": [{"port": 80}]},
}
SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "s-1", "labels": {"kubernetes.io/service-name": "s"}},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.9.8.7"]}],
    "ports": [{"port": 8080}],
}
APPLY = ("apply", "--server-side", "-f", "-")


METADATA = "application/json;as=PartialObjectMetadata{};g=meta.k8s.io;v=v1"


@asynccontextmanager
async def asking(it: PodsApiWorld) -> AsyncGenerator[ClientSession]:
    """A client that is no kubectl, with the rights of the kubeconfig."""
    known = yaml.safe_load(Path(it.kubeconfig).read_text())
    cluster, user = known["clusters"][0]["cluster"], known["users"][0]["user"]
    tls = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    headers = {"Authorization": f"Bearer {user['token']}"}
    async with ClientSession(cluster["server"], connector=TCPConnector(ssl=tls), headers=headers) as session:
        yield session


async def test_metadata_alone_is_shown_to_who_wants_no_more(tmp_path: Path) -> None:
    place = "/api/v1/namespaces/default/secrets"
    async with world(tmp_path) as it, asking(it) as session:
        await it.ok("create", "secret", "generic", "s", "--from-literal=a=hidden")
        async with session.get(place, headers={"Accept": METADATA.format("List")}) as answer:
            listed = await answer.json()
        assert (listed["kind"], listed["apiVersion"]) == ("PartialObjectMetadataList", "meta.k8s.io/v1")
        assert [(one["kind"], one["metadata"]["name"]) for one in listed["items"]] == [("PartialObjectMetadata", "s")]
        assert set(listed["items"][0]) == {"kind", "apiVersion", "metadata"}
        accept = {"Accept": METADATA.format("")}
        async with session.get(f"{place}/s", headers=accept) as answer:
            assert set(await answer.json()) == {"kind", "apiVersion", "metadata"}
        patch, kind = '{"metadata":{"labels":{"a":"b"}}}', {"Content-Type": "application/merge-patch+json"}
        async with session.patch(f"{place}/s", data=patch, headers={**accept, **kind}) as answer:
            changed = await answer.json()
        assert (changed["kind"], changed["metadata"]["labels"]) == ("PartialObjectMetadata", {"a": "b"})
        async with session.get(f"{place}?watch=1&timeoutSeconds=1", headers=accept) as answer:
            event = json.loads(await answer.content.readline())
        assert (event["type"], set(event["object"])) == ("ADDED", {"kind", "apiVersion", "metadata"})


async def test_a_service_is_asked_through_the_proxy_where_a_pod_that_is_ready_answers_for_it(tmp_path: Path) -> None:
    async def answers(request: web.Request) -> web.StreamResponse:
        return web.Response(text=f"{request.method} {request.rel_url}")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answers)
    place = "/api/v1/namespaces/default/services"
    async with serving(app) as address, world(tmp_path) as it:
        port = int(address.rpartition(":")[2])
        labelled = json.loads(manifest())
        labelled["metadata"]["labels"] = {"app": "s"}
        ports = [{"name": "web", "port": 80, "targetPort": port}, {"name": "other", "port": 81, "targetPort": "none"}]
        spec = {"selector": {"app": "s"}, "ports": ports}
        await it.ok("create", "-f", "-", stdin=json.dumps({**SERVICE, "spec": spec}))
        assert (
            'services "s" has no pod that is ready' in (await it.kubectl("get", "--raw", f"{place}/s:web/proxy/")).err
        )
        await it.ok("apply", "-f", "-", stdin=json.dumps(labelled))
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        for name in ("s", "s:80", "s:web", "http:s:80"):
            assert await it.ok("get", "--raw", f"{place}/{name}/proxy/a?b=c") == "GET /a?b=c"
        for name, said in (
            ("s:82", 'services "s" has no port 82'),
            ("s:other", "no pod that is ready"),
            ("https:s:80", "the proxy speaks HTTP without TLS: ask s:80, not https:s:80"),
            ("x", "not found"),
        ):
            assert said in (await it.kubectl("get", "--raw", f"{place}/{name}/proxy/")).err


async def test_a_manifest_may_be_sent_as_the_yaml_that_it_is(tmp_path: Path) -> None:
    place, kind = "/api/v1/namespaces/default/configmaps", {"Content-Type": "application/yaml"}
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: |\n    1\n"
    async with world(tmp_path) as it, asking(it) as session:
        async with session.post(place, data=text, headers=kind) as answer:
            assert (answer.status, (await answer.json())["data"]) == (201, {"a": "1\n"})
        async with session.put(f"{place}/c", data=text.replace("    1", "    2"), headers=kind) as answer:
            assert (answer.status, (await answer.json())["data"]) == (200, {"a": "2\n"})
        async with session.post(place, data="a: &a [1]\nb: *a", headers=kind) as answer:
            assert (answer.status, "aliases" in (await answer.json())["message"]) == (400, True)
        long = f"a: {'x' * yaml_bodies.LONGEST}"
        async with session.post(place, data=long, headers=kind) as answer:
            assert (answer.status, "too long for YAML" in (await answer.json())["message"]) == (400, True)
        apply = {"Content-Type": "application/apply-patch+yaml"}
        async with session.patch(f"{place}/c?fieldManager=m", data=long, headers=apply) as answer:
            said = (await answer.json())["message"]
            assert (answer.status, "be read as JSON" in said, "too long for YAML" in said) == (400, True, True)
        async with session.post(place, data="a=b", headers={"Content-Type": "text/plain"}) as answer:
            assert answer.status == 415
            assert "supported: application/json, application/yaml" in (await answer.json())["message"]


@pytest.mark.parametrize(
    ("method", "kind"),
    [("POST", "application/yaml"), ("PUT", "application/yaml"), ("PATCH", "application/apply-patch+yaml")],
)
@pytest.mark.parametrize("json_too", [False, True])
async def test_a_field_that_comes_twice_is_told_or_refused_in_yaml_as_in_json(
    tmp_path: Path, method: str, kind: str, json_too: bool
) -> None:
    folder = "/api/v1/namespaces/default/configmaps"
    place = folder if method == "POST" else f"{folder}/c"
    text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  a: one\n  a: two\n"
    if json_too:
        text = '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "one", "a": "two"}}'
        kind = "application/json" if kind == "application/yaml" else kind
    headers, manager = {"Content-Type": kind}, {"fieldManager": "m"}
    async with world(tmp_path) as it, asking(it) as session:
        if method == "PUT":
            await it.ok("create", "configmap", "c")
        strict = {**manager, "fieldValidation": "Strict"}
        async with session.request(method, place, data=text, params=strict, headers=headers) as answer:
            assert (answer.status, (await answer.json())["message"]) == (
                400,
                'strict decoding error: duplicate field "data.a"',
            )
        async with session.request(method, place, data=text, params=manager, headers=headers) as answer:
            assert answer.ok
            assert answer.headers.getall("Warning") == ['299 - "duplicate field \\"data.a\\""']
            assert (await answer.json())["data"] == {"a": "two"}


async def test_who_goes_over_to_server_side_apply_has_no_conflict_with_itself(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok(*APPLY, stdin=manifest())
        changed = json.loads(manifest())
        changed["spec"]["containers"][0]["image"] = "busybox:2"
        await it.ok(*APPLY, stdin=json.dumps(changed))
        held = json.loads(await it.ok("get", "pod", "web", "-o", "json", "--show-managed-fields"))
        managers = [one["manager"] for one in held["metadata"]["managedFields"] if one["operation"] == "Apply"]
        assert "kubectl" in managers
        assert 'k:{"name":"web"}' in json.dumps(held["metadata"]["managedFields"]).replace("\\", "")


async def test_managers_share_a_member_of_a_list_and_dispute_only_what_differs_in_it(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok(*APPLY, stdin=manifest())
        other = json.loads(manifest())
        await it.ok(*APPLY, "--field-manager=other", stdin=json.dumps(other))
        other["spec"]["containers"][0]["image"] = "busybox:2"
        ran = await it.kubectl(*APPLY, "--field-manager=other", stdin=json.dumps(other))
        assert '.spec.containers[name="web"].image' in ran.err
        assert "1 conflict:" in ran.err


async def test_a_client_may_forget_all_bookkeeping_but_none_that_cannot_be_read_is_kept(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok(*APPLY, "--field-manager=first", stdin=manifest())
        shown = ("get", "pod", "web", "-o", "jsonpath={.metadata.managedFields[*].manager}", "--show-managed-fields")

        async def put(entries: list[dict[str, Any]]) -> str:
            patch = json.dumps([{"op": "replace", "path": "/metadata/managedFields", "value": entries}])
            await it.ok("patch", "pod", "web", "--type=json", "-p", patch)
            return await it.ok(*shown)

        entry = {"manager": "m", "operation": "Apply", "apiVersion": "v1", "fieldsType": "FieldsV1"}
        assert "first" in await put([{**entry, "fieldsV1": {"k:nonsense": {}}}])
        assert "first" in await put([{**entry, "operation": "Guess", "fieldsV1": {"f:spec": {}}}])
        assert "first" not in await put([{}])


async def test_a_service_is_described_with_endpoints_whose_ports_have_no_name(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for one in (SERVICE, SLICE):
            await it.ok("create", "-f", "-", stdin=json.dumps(one))
        assert "10.9.8.7:8080" in await it.ok("describe", "service", "s")
        ports = json.loads(await it.ok("get", "endpointslice", "s-1", "-o", "json"))["ports"]
        assert ports == [{"name": "", "protocol": "TCP", "port": 8080}]


async def test_discovery_answers_with_a_slash_at_the_end_and_lists_its_documents(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for path in ("/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/version", "/openapi/v3"):
            assert await it.ok("get", "--raw", f"{path}/") == await it.ok("get", "--raw", path)
        listed = json.loads(await it.ok("get", "--raw", "/"))["paths"]
        assert {"/api/v1", "/apis/apps/v1", "/version", "/healthz"} <= set(listed)


async def test_our_annotations_where_nobody_reads_them_are_not_passed_over_in_silence(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("create", "deployment", "d", "--image=busybox", "--replicas=0")
        ran = await it.kubectl("annotate", "deployment", "d", "chinampa.dev/instance-type=c7i.large")
        assert "metadata.annotations[chinampa.dev/instance-type]: it has no effect there" in ran.err
        labels = {"app": "d", "chinampa.dev/zone": "a"}
        patch = json.dumps({"spec": {"template": {"metadata": {"labels": labels}}}})
        ran = await it.kubectl("patch", "deployment", "d", "-p", patch)
        assert "spec.template.metadata.labels[chinampa.dev/zone]: it has no effect there" in ran.err
        ran = await it.kubectl("annotate", "serviceaccount", "default", "chinampa.dev/role=view")
        assert (ran.code, ran.err) == (0, "")


async def test_a_pod_that_is_there_goes_to_no_other_cell_and_who_asks_is_told(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        await it.ok("wait", "--for=condition=Ready", "pod/web", "--timeout=30s")
        ran = await it.kubectl("patch", "pod", "web", "-p", '{"spec":{"nodeName":"elsewhere"}}')
        assert "spec.nodeName: it has no effect: the cell is made for the pod" in ran.err
        assert await it.ok("get", "pod", "web", "-o", "jsonpath={.spec.nodeName}") != "elsewhere"
        assert (await it.kubectl("label", "pod", "web", "a=b")).err == ""


async def test_parts_of_a_pod_that_nobody_writes_say_why(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        await it.ok("apply", "-f", "-", stdin=manifest())
        for part, said in (
            ("status", "cannot have its status written: that says what was seen on its cell"),
            ("resize", "bought for its size; delete"),
        ):
            patch = ("patch", "pod", "web", f"--subresource={part}", "--type=merge", "-p", '{"metadata":{}}')
            assert said in (await it.kubectl(*patch)).err


async def test_reviews_of_somebody_else_say_that_this_server_cannot_tell(tmp_path: Path) -> None:
    async with world(tmp_path) as it:
        for kind, metadata in (("SubjectAccessReview", {}), ("LocalSubjectAccessReview", {"namespace": "default"})):
            attributes = {"namespace": "default", "verb": "get", "resource": "pods"}
            review = {"apiVersion": "authorization.k8s.io/v1", "kind": kind, "metadata": metadata}
            spec = {"user": "bob", "resourceAttributes": attributes}
            ran = await it.kubectl("create", "-f", "-", stdin=json.dumps({**review, "spec": spec}))
            assert f"{kind} cannot tell of somebody else" in ran.err, ran
