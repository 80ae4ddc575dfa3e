"""What a cell tells of its pod is not taken on trust."""

import pytest

from controller.pods.adoption import understood

POD = '{"metadata":{"name":"web","namespace":"default","uid":"u1","labels":{"a":"b"}},"spec":{"containers":[]}}'


def test_a_pod_is_known_again_whole() -> None:
    pod = understood(POD)
    assert pod is not None
    assert pod["metadata"]["labels"] == {"a": "b"}


@pytest.mark.parametrize("told", ["", "{", "[]", '{"metadata":{},"spec":{}}', POD.replace('"uid":"u1",', "")])
def test_what_is_no_manifest_of_a_pod_is_passed_over(told: str) -> None:
    assert understood(told) is None
