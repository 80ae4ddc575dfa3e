"""What a kubelet is shown of volumes on cells: nothing, until they hold more than their pod allows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellwire.faults import Fault
from controller.objects.pod_demand import spec_of
from controller.objects.schema.pods import PodSpec
from controller.shim.volume_limits import BEYOND, reserve, shown

MIB = 1 << 20


def _spec(limit: str = "", **sizes: str) -> PodSpec:
    resources = {"limits": {"ephemeral-storage": limit}} if limit else {}
    volumes = [{"name": name, "emptyDir": {"sizeLimit": size} if size else {}} for name, size in sizes.items()]
    return spec_of({"containers": [{"name": "main", "resources": resources}], "volumes": volumes})


@pytest.mark.parametrize(
    ("spec", "held", "beside", "wanted"),
    [
        (_spec(a="4Mi"), {"a": 4 * MIB}, 0, {"a": 0}),
        (_spec(a="4Mi", b=""), {"a": 900 * MIB, "b": 7}, 0, {"a": 4 * MIB + BEYOND, "b": 0}),
        (_spec("10Mi", a="", b=""), {"a": 4 * MIB, "b": 5 * MIB}, MIB, {"a": 0, "b": 0}),
        (_spec(a="", b=""), {"a": 4 * MIB, "b": 5 * MIB}, 900 * MIB, {"a": 0, "b": 0}),
    ],
)
def test_no_more_of_the_workers_disk_is_taken_than_the_kubelet_must_see(
    spec: PodSpec, held: dict[str, int], beside: int, wanted: dict[str, int]
) -> None:
    assert shown(spec, held, beside) == wanted


@pytest.mark.parametrize("beside", [0, 3 * MIB, 20 * MIB])
def test_what_all_of_a_pods_volumes_hold_beyond_its_limit_is_seen_in_sum(beside: int) -> None:
    found = shown(_spec("10Mi", a="", b="", c=""), {"a": 7 * MIB, "b": 6 * MIB, "c": 900 * MIB}, beside)
    assert sum(found.values()) + beside > 10 * MIB
    assert sum(found.values()) <= max(10 * MIB - beside, 0) + 3 * BEYOND


def test_what_is_reserved_takes_disk_and_is_given_back(tmp_path: Path) -> None:
    path = tmp_path / "held"
    reserve(path, MIB)
    assert path.stat().st_blocks * 512 >= MIB
    reserve(path, MIB)
    reserve(path, 0)
    reserve(path, 0)
    assert not path.exists()


def test_the_workers_own_disk_is_not_filled_for_it(tmp_path: Path) -> None:
    with pytest.raises(Fault, match="of this worker's disk"):
        reserve(tmp_path / "held", 1 << 55)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Fault):
        reserve(tmp_path / "link", MIB)
    assert not (tmp_path / "elsewhere").exists()
