from typing import Any

import pytest

from cellwire.faults import Fault
from controller.objects import admission
from controller.objects.admission import How
from controller.objects.fields import Invalid
from controller.pods.kind import PODS


def admit(manifest: dict[str, Any], how: How | None = None) -> dict[str, Any]:
    how = how or How(validation="Strict")
    given = admission.read(PODS, manifest, how)
    return admission.checked(PODS, admission.fresh(PODS, given, "default", 0.0), None, how)


def pod(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"containers": [{"name": "web", "image": "busybox"}], **spec},
    }


def causes(manifest: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Invalid) as caught:
        admit(manifest)
    return {cause.field: f"{cause.reason} {cause.message}" for cause in caught.value.causes}


def test_defaults_are_those_of_the_api_server() -> None:
    admitted = admit(pod())
    container = admitted["spec"]["containers"][0]
    assert container["imagePullPolicy"] == "Always"
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert admitted["spec"]["restartPolicy"] == "Always"
    assert admitted["spec"]["terminationGracePeriodSeconds"] == 30
    assert admitted["spec"]["schedulerName"] == "default-scheduler"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("localhost:5000/busybox", "Always"),
        ("localhost:5000/busybox:1", "IfNotPresent"),
        ("busybox@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_the_pull_policy_follows_the_tag(image: str, policy: str) -> None:
    admitted = admit(pod(containers=[{"name": "a", "image": image}]))
    assert admitted["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_every_fault_is_told_at_once_with_its_field() -> None:
    found = causes(
        pod(
            containers=[{"name": "Web_1", "ports": [{"containerPort": 70000}]}],
            restartPolicy="Sometimes",
        )
    )
    assert found["spec.containers[0].image"].startswith("FieldValueRequired Required value")
    assert found["spec.containers[0].name"].startswith("FieldValueInvalid")
    assert "between 1 and 65535" in found["spec.containers[0].ports[0].containerPort"]
    assert found["spec.restartPolicy"].startswith('FieldValueNotSupported Unsupported value: "Sometimes"')


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (
            {"volumes": [{"name": "a", "awsElasticBlockStore": {"volumeID": "x"}}]},
            "spec.volumes[0].awsElasticBlockStore",
        ),
        ({"schedulingGates": [{"name": "a"}]}, "spec.schedulingGates"),
        ({"hostUsers": False}, "spec.hostUsers"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    found = causes(pod(**spec))
    assert list(found) == [field]
    assert found[field].startswith("FieldValueForbidden Forbidden: chinampa cannot honour")


def test_an_unknown_field_is_refused_by_name_or_warned_of_as_the_client_wants() -> None:
    given = pod(containers=[{"name": "a", "image": "b", "comand": ["x"]}])
    with pytest.raises(Fault, match=r'strict decoding error: unknown field "spec.containers\[0\].comand"'):
        admit(given)
    how = How(validation="Warn")
    assert "comand" not in admit(given, how)["spec"]["containers"][0]
    assert how.warnings == ['unknown field "spec.containers[0].comand"']


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        (
            {"affinity": {"nodeAffinity": {}, "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": []}}},
            "spec.affinity",
        ),
        ({"schedulerName": "mine"}, "spec.schedulerName"),
        ({"nodeSelector": {"disk": "ssd"}}, 'spec.nodeSelector["disk"]'),
        ({"priorityClassName": "system-node-critical"}, "spec.priorityClassName"),
        ({"nodeName": "c-1"}, "spec.nodeName"),
        ({"securityContext": {"seLinuxOptions": {"type": "t"}}}, "spec.securityContext.seLinuxOptions"),
    ],
)
def test_what_means_nothing_with_a_cell_for_each_pod_is_accepted_and_said(spec: dict[str, Any], field: str) -> None:
    how = How()
    admit(pod(**spec), how)
    (said,) = how.warnings
    assert said.startswith(f"{field}: it has no effect")


def test_an_annotation_of_ours_that_cannot_be_read_is_refused_and_all_of_them_at_once() -> None:
    given = pod()
    given["metadata"]["annotations"] = {"chinampa.dev/instance-tipe": "a", "chinampa.dev/max-price": "dear", "own": "x"}
    assert causes(given).keys() == {
        "metadata.annotations[chinampa.dev/instance-tipe]",
        "metadata.annotations[chinampa.dev/max-price]",
    }
    given["metadata"]["annotations"] = {"chinampa.dev/gpu-name": "t4"}
    assert "no container asks for a GPU" in causes(given)["metadata.annotations[chinampa.dev/gpu-name]"]


def test_empty_forms_of_refused_fields_ask_for_nothing_and_pass() -> None:
    admit(pod(affinity={}, imagePullSecrets=[], hostAliases=None, overhead={}))


def test_a_request_above_its_limit_is_invalid() -> None:
    resources = {"limits": {"cpu": "1"}, "requests": {"cpu": "1500m"}}
    found = causes(pod(containers=[{"name": "a", "image": "b", "resources": resources}]))
    assert "less than or equal to cpu limit" in found["spec.containers[0].resources.requests"]


def test_on_the_cells_own_network_a_port_is_the_same_outside() -> None:
    def given(port: dict[str, int]) -> dict[str, Any]:
        ports = [{"containerPort": 80, **port}]
        return pod(hostNetwork=True, containers=[{"name": "a", "image": "b", "ports": ports}])

    told = "FieldValueInvalid Invalid value: 80: must match `hostPort` when `hostNetwork` is true"
    assert causes(given({"hostPort": 81})) == {"spec.containers[0].ports[0].containerPort": told}
    assert admit(given({"hostPort": 80}))
    assert admit(given({}))


def test_a_mount_of_no_volume_is_told() -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    found = causes(pod(containers=[{"name": "a", "image": "b", "volumeMounts": mounts}]))
    assert found == {"spec.containers[0].volumeMounts[0].name": 'FieldValueNotFound Not found: "data"'}


def test_two_containers_cannot_share_a_name() -> None:
    found = causes(pod(initContainers=[{"name": "web", "image": "b"}]))
    assert found == {"spec.containers[0].name": 'FieldValueDuplicate Duplicate value: "web"'}


@pytest.mark.parametrize(
    "manifest", [{}, {"metadata": [], "spec": 1}, {"spec": {"containers": {}}}, {"metadata": None}]
)
def test_nonsense_is_refused_and_never_a_crash(manifest: dict[str, Any]) -> None:
    with pytest.raises(Fault):
        admit(manifest)


@pytest.mark.parametrize(
    ("container", "field", "cause"),
    [
        ({"envFrom": [{}]}, "envFrom[0]", "must specify one of"),
        ({"envFrom": [{"configMapRef": {}}]}, "envFrom[0].configMapRef.name", "Required value"),
        ({"envFrom": [{"secretRef": {"optional": True}}]}, "envFrom[0].secretRef.name", "Required value"),
        ({"envFrom": [{"secretRef": {"name": "A_b"}}]}, "envFrom[0].secretRef.name", "RFC 1123 subdomain"),
        (
            {"envFrom": [{"secretRef": {"name": "a"}, "configMapRef": {"name": "b"}}]},
            "envFrom[0]",
            "may not have more than one",
        ),
        ({"env": [{"name": "A", "valueFrom": {}}]}, "env[0].valueFrom", "must specify one of"),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"key": "k"}}}]},
            "env[0].valueFrom.configMapKeyRef.name",
            "Required value",
        ),
    ],
)
def test_a_variable_says_where_its_one_value_is(container: dict[str, Any], field: str, cause: str) -> None:
    found = causes(pod(containers=[{"name": "web", "image": "busybox", **container}]))
    assert cause in found[f"spec.containers[0].{field}"]


def test_a_file_of_the_pods_own_fields_says_which_one_it_holds() -> None:
    of = {"fieldRef": {"fieldPath": "metadata.name"}, "resourceFieldRef": {"resource": "limits.cpu"}}
    files = [{"path": "a"}, {"path": "b", **of}, {"path": "c", "fieldRef": of["fieldRef"], "resourceFieldRef": None}]
    found = causes(pod(volumes=[{"name": "own", "downwardAPI": {"items": files}}]))
    at = "spec.volumes[0].downwardAPI.items"
    assert {*found} == {f"{at}[0]", f"{at}[1]"}
    assert "must specify one of: `fieldRef`, `resourceFieldRef`" in found[f"{at}[0]"]


@pytest.mark.parametrize("name", ["a.-b", "a-.b", "a..b", ".a", "a" * 254])
def test_each_part_of_a_name_is_a_label_of_its_own(name: str) -> None:
    found = causes({**pod(), "metadata": {"name": name}})
    assert "RFC 1123 subdomain" in found["metadata.name"]


@pytest.mark.parametrize("volume", [{"name": "a"}, {"name": "a", "emptyDir": None}, {"name": "a", "emptyDir": {}}])
def test_a_volume_of_no_kind_is_an_empty_folder(volume: dict[str, Any]) -> None:
    assert admit(pod(volumes=[volume]))["spec"]["volumes"] == [{"name": "a", "emptyDir": {}}]
