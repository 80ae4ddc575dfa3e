"""Who is evicted for what it holds on disk: by a kubelet's rules, in its words."""

from __future__ import annotations

from typing import Any

import pytest

from controller.pods.disk_usage import DiskUsage, excess, folders, limited
from controller.pods.run import PodRecord
from tests.support.typed_pods import record_of

MIB = 1 << 20


def _pod(*limits: str | None, size: str | None = None, medium: str = "", init: str | None = None) -> PodRecord:
    def container(name: str, limit: str | None) -> dict[str, Any]:
        return {"name": name, **({"resources": {"limits": {"ephemeral-storage": limit}}} if limit else {})}

    volume = {"name": "data", "emptyDir": {"medium": medium, **({"sizeLimit": size} if size else {})}}
    spec = {"containers": [container(f"c{i}", limit) for i, limit in enumerate(limits)], "volumes": [volume]}
    if init:
        spec["initContainers"] = [container("i", init)]
    return record_of({"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec})


@pytest.mark.parametrize(
    ("pod", "layers", "held", "why"),
    [
        (_pod("5Mi"), {"c0": 4 * MIB}, {}, ""),
        (_pod("5Mi", None), {"c0": 6 * MIB}, {}, "Pod ephemeral local storage usage exceeds"),
        (
            _pod("5Mi", "10Mi"),
            {"c0": 6 * MIB},
            {},
            'Container c0 exceeded its local ephemeral storage limit "5Mi". ',
        ),
        (_pod("5Mi", "5Mi"), {"c0": 4 * MIB}, {"log c0": 2 * MIB}, "Container c0 exceeded its local ephemeral storage"),
        (_pod("5Mi"), {}, {"volume data": 6 * MIB}, "Pod ephemeral local storage usage exceeds the total limit"),
        (_pod("5Mi", init="20Mi"), {}, {"volume data": 6 * MIB}, ""),
        (_pod(None, size="1Mi"), {}, {"volume data": MIB}, ""),
        (
            _pod(None, size="1Mi"),
            {},
            {"volume data": MIB + 1},
            'Usage of EmptyDir volume "data" exceeds the limit "1Mi". ',
        ),
        (_pod(None), {"c0": 1 << 40}, {"volume data": 1 << 40}, ""),
    ],
)
def test_a_pod_goes_once_it_holds_more_than_it_may(
    pod: PodRecord, layers: dict[str, int], held: dict[str, int], why: str
) -> None:
    found = excess(pod, DiskUsage(layers, held))
    assert found.startswith(why) if why else not found


def test_nothing_is_looked_at_for_pods_without_limits_and_memory_is_no_disk() -> None:
    assert not limited(_pod(None))
    assert not limited(_pod(None, size="1Mi", medium="Memory"))
    assert limited(_pod(None, size="1Mi"))
    assert limited(_pod("1Mi"))
    assert folders(_pod("1Mi", medium="Memory")) == {"log c0": "/var/log/pods/n_p_u/c0"}
    assert folders(_pod("1Mi"))["volume data"].endswith("/pods/u/volumes/data")
