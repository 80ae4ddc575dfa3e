"""What volumes and variables hold that a pod takes from objects."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from controller.objects.schema.volumes import Volume
from controller.objects.shapes import decoded
from controller.pods.config_data import Missing
from controller.pods.run import PodRun
from controller.pods.variables import VariableSources, environment
from controller.pods.volume_contents import ACCOUNT, File, Sources, files, has_content
from tests.support.typed_pods import container_of, pod_of

POD = pod_of(
    {
        "metadata": {"name": "web", "namespace": "team", "labels": {"b": "2", "a": "1"}},
        "spec": {"containers": [{"name": "web", "resources": {"limits": {"cpu": "1500m"}}}]},
    }
)
OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("configmaps", "settings"): {"data": {"color": "$(red)", "a=b": "no name"}},
    ("secrets", "key"): {"data": {"password": base64.b64encode(b"word").decode()}},
}


def lookup(kind: str, namespace: str, name: str) -> dict[str, Any] | None:
    assert namespace == "team"
    return OBJECTS.get((kind, name))


SOURCES = Sources(lookup, lambda audience, seconds: f"token {audience or 'api'} {seconds}")


def held(volume: dict[str, Any]) -> dict[str, File]:
    return files(decoded(volume, Volume), POD, PodRun(), SOURCES)


def test_a_mode_of_zero_is_one_and_none_is_the_volumes() -> None:
    items = [{"key": "color", "path": "shut", "mode": 0}, {"key": "color", "path": "open"}]
    found = held({"configMap": {"name": "settings", "items": items, "defaultMode": 0o400}})
    assert {path: file.mode for path, file in found.items()} == {"shut": 0, "open": 0o400}
    assert held({"configMap": {"name": "settings"}})["color"].mode == 0o644


def test_sources_of_all_kinds_are_in_one_volume() -> None:
    fields = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "web", "resource": "limits.cpu"}},
    ]
    sources = [
        {"configMap": {"name": "settings"}, "secret": None},
        {"secret": {"name": "key", "items": [{"key": "password", "path": "in/pw"}]}},
        {"downwardAPI": {"items": fields}},
        {"serviceAccountToken": {"path": "token", "audience": "vault"}},
        {"secret": {"name": "none", "optional": True}},
    ]
    found = {path: file.data for path, file in held({"projected": {"sources": sources}}).items()}
    assert found["color"] == b"$(red)"
    assert found["in/pw"] == b"word"
    assert found["labels"] == b'a="1"\nb="2"\n'
    assert found["cpu"] == b"2"
    assert found["token"].startswith(b"token vault ")
    assert files(ACCOUNT, POD, PodRun(), SOURCES)["namespace"].data == b"team"


def test_a_file_of_the_downward_api_that_names_nothing_is_empty() -> None:
    """An older version took such a pod."""
    assert held({"downwardAPI": {"items": [{"path": "empty"}]}}) == {"empty": File(b"", 0o644)}


def test_what_must_be_there_and_is_not_is_named() -> None:
    with pytest.raises(Missing, match='secret "none" not found'):
        held({"secret": {"secretName": "none"}})
    with pytest.raises(Missing, match='configmap "settings" references non-existent key: size'):
        held({"configMap": {"name": "settings", "items": [{"key": "size", "path": "size"}]}})
    assert not has_content(decoded({"name": "tmp", "emptyDir": {}}, Volume))


def test_variables_from_objects_are_written_out_and_not_expanded() -> None:
    key = {"secretKeyRef": {"name": "key", "key": "password"}}
    gone = {"configMapKeyRef": {"name": "settings", "key": "size", "optional": True}}
    container = container_of(
        {
            "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}],
            "env": [
                {"name": "PW", "valueFrom": key},
                {"name": "GONE", "valueFrom": gone},
                {"name": "X", "value": "$(PW)"},
            ],
        }
    )
    sources = VariableSources(lookup, services=lambda namespace: ())
    found = environment(POD, container, PodRun(), sources)
    assert list(found.items()) == [("P_color", "$(red)"), ("PW", "word"), ("X", "word")]
    absent = {"name": "S", "valueFrom": {"secretKeyRef": {"name": "key", "key": "size"}}}
    with pytest.raises(Missing, match="couldn't find key size in Secret team/key"):
        environment(POD, container_of({"env": [absent]}), PodRun(), sources)
