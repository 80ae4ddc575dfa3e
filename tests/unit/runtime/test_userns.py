"""Which user namespaces a pod may ask for."""

from __future__ import annotations

import pytest

from cellagent.kernel.namespaces import IdMap
from cellagent.runtime.userns import mapping
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

ROOT = cri.IDMapping(container_id=0, host_id=65536, length=65536)


def asked(
    mode: cri.NamespaceMode.ValueType, *ids: cri.IDMapping, network: cri.NamespaceMode.ValueType = cri.POD
) -> cri.PodSandboxConfig:
    config = cri.PodSandboxConfig()
    options = config.linux.security_context.namespace_options
    options.network = network
    options.userns_options.MergeFrom(cri.UserNamespace(mode=mode, uids=ids, gids=ids))
    return config


def test_a_pod_has_one_of_its_own_only_where_it_gives_a_range() -> None:
    assert mapping(cri.PodSandboxConfig()) is None
    assert mapping(asked(cri.NODE)) is None
    assert mapping(asked(cri.POD, ROOT)) == IdMap(0, 65536, 65536)


@pytest.mark.parametrize(
    "config",
    [
        asked(cri.POD, ROOT, ROOT),
        asked(cri.POD, cri.IDMapping(container_id=1, host_id=65536, length=65536)),
        asked(cri.POD, cri.IDMapping(container_id=0, host_id=0, length=65536)),
        asked(cri.POD, cri.IDMapping(container_id=0, host_id=65536, length=0)),
        asked(cri.CONTAINER),
        asked(cri.TARGET),
        asked(cri.POD, ROOT, network=cri.NODE),
    ],
    ids=[
        "two ranges",
        "without root",
        "the machine's root",
        "empty",
        "of the container",
        "of a target",
        "host network",
    ],
)
def test_what_cannot_be_is_refused(config: cri.PodSandboxConfig) -> None:
    with pytest.raises(Fault) as caught:
        mapping(config)
    assert caught.value.kind is Kind.INVALID
