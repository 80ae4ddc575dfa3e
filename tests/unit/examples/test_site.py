"""Two clones' demonstrations have nothing in common on one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from examples.site import Site

ONE, OTHER = Site(Path("/home/one/chinampa")), Site(Path("/home/other/chinampa"))


def test_two_clones_have_names_and_folders_of_their_own() -> None:
    for what in ("cluster", "bridge", "folder", "api_port"):
        assert getattr(ONE, what) != getattr(OTHER, what)
    assert len(ONE.bridge) <= 15


def test_a_subnet_that_another_interface_has_is_left_alone() -> None:
    first = ONE.subnet([])
    assert ONE.subnet(["127.0.0.1/8", "10.212.0.1/24"]) == first
    second = ONE.subnet([f"{first}.1/24"])
    assert second != first
    assert ONE.subnet([f"{first}.1/24", f"{second}.1/16"]) not in {first, second}
    assert all(int(subnet.split(".")[2]) < 256 for subnet in (first, second))


def test_a_machine_that_has_them_all_is_told_where_to_look() -> None:
    with pytest.raises(OSError, match=r"every subnet of 10\.211\.0\.0/16 is taken"):
        ONE.subnet([f"10.211.{third}.1/24" for third in range(256)])
