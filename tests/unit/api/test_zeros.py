"""A zero that a client writes is a value only where it can be told apart from none."""

from __future__ import annotations

from typing import Any

import pytest

from controller.api.all_kinds import KINDS
from controller.objects import protobuf
from controller.objects.shapes import pruned, shape_of


def kept(kind: str, **fields: Any) -> Any:
    return pruned(fields, shape_of(KINDS[kind]))


def test_zeros_that_stand_for_nothing_go_and_others_stay() -> None:
    port = {"containerPort": 80, "hostPort": 0, "protocol": "", "name": ""}
    container = {
        "name": "web",
        "imagePullPolicy": "",
        "tty": False,
        "ports": [port],
        "livenessProbe": {"timeoutSeconds": 0, "terminationGracePeriodSeconds": 0},
        "securityContext": {"runAsUser": 0, "privileged": False},
    }
    spec = {"containers": [container], "restartPolicy": "", "hostNetwork": False, "enableServiceLinks": False}
    assert kept("Pod", spec=spec | {"terminationGracePeriodSeconds": 0})["spec"] == {
        "containers": [
            {
                "name": "web",
                "ports": [{"containerPort": 80}],
                "livenessProbe": {"terminationGracePeriodSeconds": 0},
                "securityContext": {"runAsUser": 0, "privileged": False},
            }
        ],
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 0,
    }


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("Deployment", {"spec": {"replicas": 0, "revisionHistoryLimit": 0}}),
        ("Job", {"spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": 0, "suspend": False}}),
        ("PersistentVolumeClaim", {"spec": {"storageClassName": ""}}),
        ("NetworkPolicy", {"spec": {"podSelector": {}}}),
        ("ConfigMap", {"data": {"empty": ""}, "immutable": False}),
        ("Pod", {"spec": {"volumes": [{"name": "x", "emptyDir": {}}]}, "status": {"message": ""}}),
    ],
)
def test_what_says_something_by_being_empty_stays(kind: str, fields: Any) -> None:
    assert kept(kind, **fields) == fields


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, len(data)]) + data


def test_an_empty_message_in_protobuf_is_there() -> None:
    # Volume: name 1, source 2; of that emptyDir 2 with medium 1. PodSpec: volumes 1. Pod: spec 2.
    volume = field(1, b"x") + field(2, field(2, field(1, b"")))
    pod = field(2, field(1, volume))
    sent = b"k8s\0" + field(1, field(1, b"v1") + field(2, b"Pod")) + field(2, pod)
    assert protobuf.decode(sent, KINDS)["spec"]["volumes"] == [{"name": "x", "emptyDir": {}}]
