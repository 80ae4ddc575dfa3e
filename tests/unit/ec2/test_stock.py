"""Stock images by name."""

from __future__ import annotations

import pytest

from cellwire.faults import Fault
from controller.clouds.ec2.machine_images import image_selection


def test_a_known_distribution_is_found_by_its_owner_and_the_names_of_its_images() -> None:
    found = image_selection.stock_images("cloud.ec2.image_arm64", "stock:debian-13")
    assert found is not None
    assert (found.owner, found.name("arm64")) == ("136693071363", "debian-13-arm64-*")


def test_an_image_that_is_named_by_itself_is_none_of_a_distribution() -> None:
    assert image_selection.stock_images("cloud.ec2.image_amd64", "ami-0123") is None


@pytest.mark.parametrize("name", ["stock:al2023", "stock:", "stock:debian-11", "stock:Debian-12"])
def test_another_distribution_is_refused_by_name_with_those_that_are_known(name: str) -> None:
    with pytest.raises(
        Fault, match=r"cloud.ec2.image_amd64 stock:.*stock:debian-12, stock:debian-13, stock:ubuntu-24.04"
    ):
        image_selection.stock_images("cloud.ec2.image_amd64", name)
