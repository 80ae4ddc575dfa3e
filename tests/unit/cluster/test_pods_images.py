"""Which images of a kubelet's pod may be pulled before it asks: those that nobody needs a secret for."""

from __future__ import annotations

from typing import Any

from cellwire.cri.v1 import runtime_pb2 as cri
from controller.cluster.node_pods import NodePods


def images(**spec: Any) -> tuple[str, ...]:
    pods = NodePods()
    pods.changed({"metadata": {"uid": "u"}, "spec": spec})
    return pods.images(cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(uid="u")))


def test_they_are_those_of_all_containers_in_their_order_each_once() -> None:
    inits, mains = [{"image": "init:1"}], [{"image": "web:1"}, {"image": "init:1"}, {"image": "side:1"}]
    assert images(initContainers=inits, containers=mains) == ("init:1", "web:1", "side:1")


def test_a_pod_with_secrets_to_pull_with_and_one_that_nobody_has_told_of_have_none() -> None:
    assert images(containers=[{"image": "web:1"}], imagePullSecrets=[{"name": "login"}]) == ()
    assert NodePods().images(cri.PodSandboxConfig(metadata=cri.PodSandboxMetadata(uid="other"))) == ()


def test_an_image_that_is_never_to_be_pulled_is_none_of_them() -> None:
    assert images(containers=[{"image": "a:1", "imagePullPolicy": "Never"}, {"image": "b:1"}]) == ("b:1",)
