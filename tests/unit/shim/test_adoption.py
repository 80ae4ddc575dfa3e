"""What a cell tells of its sandbox is not taken on trust."""

import base64

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.shim.adoption import understood


def test_a_sandbox_is_known_again_by_its_configuration() -> None:
    config = cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(name="web", uid="u1"))
    assert understood(base64.b64encode(config.SerializeToString()).decode()) == config


@pytest.mark.parametrize("told", ["", "not base64!", base64.b64encode(b"\xff\xff").decode()])
def test_what_is_no_configuration_of_a_pod_is_passed_over(told: str) -> None:
    assert understood(told) is None
