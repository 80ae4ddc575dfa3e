from typing import Any

import pytest

from controller.objects.fields import Invalid
from controller.pods.spec import admit


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
            containers=[{"name": "Web_1", "ports": [{"containerPort": 70000}]}, "x"],
            restartPolicy="Sometimes",
            terminationGracePeriodSeconds="soon",
        )
    )
    assert found["spec.containers[0].image"].startswith("FieldValueRequired Required value")
    assert found["spec.containers[0].name"].startswith("FieldValueInvalid")
    assert "between 1 and 65535" in found["spec.containers[0].ports[0].containerPort"]
    assert found["spec.containers[1]"].startswith("FieldValueInvalid")
    assert found["spec.restartPolicy"].startswith('FieldValueNotSupported Unsupported value: "Sometimes"')
    assert "must be an integer" in found["spec.terminationGracePeriodSeconds"]


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"affinity": {"nodeAffinity": {}}}, "spec.affinity"),
        ({"volumes": [{"name": "a", "configMap": {"name": "x"}}]}, "spec.volumes[0].configMap"),
        ({"volumes": [{"name": "a", "emptyDir": {"medium": "HugePages"}}]}, "spec.volumes[0].emptyDir.medium"),
        ({"volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}]}, "spec.volumes[0].emptyDir.sizeLimit"),
        ({"imagePullSecrets": [{"name": "a"}]}, "spec.imagePullSecrets"),
        ({"hostUsers": False}, "spec.hostUsers"),
        ({"schedulerName": "mine"}, "spec.schedulerName"),
        ({"nodeSelector": {"disk": "ssd"}}, "spec.nodeSelector.disk"),
        (
            {"containers": [{"name": "a", "image": "b", "envFrom": [{"configMapRef": {"name": "x"}}]}]},
            "spec.containers[0].envFrom",
        ),
        (
            {"containers": [{"name": "a", "image": "b", "resources": {"limits": {"nvidia.com/gpu": 1}}}]},
            "spec.containers[0].resources.limits.nvidia.com/gpu",
        ),
        (
            {"containers": [{"name": "a", "image": "b", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}]},
            "spec.containers[0].lifecycle",
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(spec: dict[str, Any], field: str) -> None:
    found = causes(pod(**spec))
    assert list(found) == [field]
    assert found[field].startswith("FieldValueForbidden Forbidden: chinampa cannot honour")


def test_an_unknown_field_is_refused() -> None:
    assert causes(pod(containers=[{"name": "a", "image": "b", "comand": ["x"]}])) == {
        "spec.containers[0].comand": "FieldValueForbidden Forbidden: unknown field"
    }


def test_empty_forms_of_refused_fields_ask_for_nothing_and_pass() -> None:
    admit(pod(affinity={}, imagePullSecrets=[], hostAliases=None, overhead={}))


def test_a_request_above_its_limit_is_invalid() -> None:
    resources = {"limits": {"cpu": "1"}, "requests": {"cpu": "1500m"}}
    found = causes(pod(containers=[{"name": "a", "image": "b", "resources": resources}]))
    assert "less than or equal to cpu limit" in found["spec.containers[0].resources.requests"]


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
def test_nonsense_is_invalid_and_never_a_crash(manifest: dict[str, Any]) -> None:
    assert causes(manifest)
