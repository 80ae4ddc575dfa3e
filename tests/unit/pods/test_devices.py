"""Which devices a container is given."""

from __future__ import annotations

from typing import Any

import pytest

from cellwire.faults import Fault
from controller.choice import requirements
from controller.pods.devices import gpus, others
from controller.pods.translate import container_config
from tests.support.typed_pods import pod_of, spec_of
from tests.unit.pods.test_spec import admit, causes, pod


def _asking(name: str, count: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "resources": {"limits": {"nvidia.com/gpu": count}}, **more}


SPEC = {
    "initContainers": [_asking("side", 1, restartPolicy="Always"), _asking("first", 2)],
    "containers": [_asking("a", 1), {"name": "none", "image": "busybox"}, _asking("b", 2)],
}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("side", (0,)), ("first", (1, 2)), ("a", (1,)), ("none", ()), ("b", (2, 3)), ("unknown", ())],
)
def test_containers_that_run_at_one_time_share_no_gpu(name: str, wanted: tuple[int, ...]) -> None:
    assert gpus(spec_of(SPEC), name) == tuple(f"nvidia.com/gpu={index}" for index in wanted)


def test_an_annotation_gives_every_container_a_device_of_the_cell() -> None:
    wanted = {"chinampa.dev/devices": "/dev/fuse, /dev/kvm"}
    assert others(wanted) == ("/dev/fuse", "/dev/kvm")
    assert others({}) == ()
    one = pod()
    one["metadata"]["annotations"] = wanted
    declared = pod_of(admit(one))
    config = container_config(declared, declared.spec.containers[0], {}, "sha256:1", 0)
    assert [(each.host_path, each.permissions) for each in config.devices] == [
        ("/dev/fuse", "rwm"),
        ("/dev/kvm", "rwm"),
    ]


@pytest.mark.parametrize("path", ["fuse", "/etc/passwd", "/dev/../etc/passwd", "/dev/"])
def test_what_is_no_device_is_refused(path: str) -> None:
    with pytest.raises(Fault, match="no path of a device"):
        requirements.read({"chinampa.dev/devices": path})


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"requests": {"nvidia.com/gpu": 1}}, "Limit must be set for non overcommitable resources"),
        ({"requests": {"nvidia.com/gpu": 1}, "limits": {"nvidia.com/gpu": 2}}, "must be equal to nvidia.com/gpu limit"),
        ({"limits": {"nvidia.com/gpu": "500m"}}, "must be an integer"),
    ],
)
def test_gpus_are_asked_for_as_kubernetes_has_it(resources: dict[str, Any], words: str) -> None:
    one = pod()
    one["spec"]["containers"][0]["resources"] = resources
    assert any(words in cause for cause in causes(one).values())
