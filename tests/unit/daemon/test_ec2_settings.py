"""Settings with which no instance on EC2 could join end the start, in a sentence."""

from __future__ import annotations

import pytest

from cellwire.faults import Fault
from controller import config
from controller.daemon import check_ec2


@pytest.mark.parametrize(
    ("link", "image", "words"),
    [
        ("", "ami-1", "link.addresses: it is empty: cells would not know whom to dial; name the controller's address"),
        ('host = "::"', "ami-1", "link.addresses: it is empty"),
        (
            'host = "10.0.0.10"',
            "stock:gentoo",
            "stock:gentoo: the agent's bundle is not tried on it; name one of stock:",
        ),
        ('host = "10.0.0.10"', "stock:debian-13", "there is no agent for it; pack one with `make bundle`"),
    ],
)
def test_what_keeps_cells_from_joining_is_named(link: str, image: str, words: str) -> None:
    text = f'[link]\n{link}\n[cloud]\nkind = "ec2"\n[cloud.ec2]\nregion = "us-east-1"\nimage_amd64 = "{image}"\n'
    with pytest.raises(Fault) as refused:
        check_ec2(config.parse(text, "controller.toml"))
    assert words in str(refused.value)


@pytest.mark.parametrize("link", ['addresses = ["10.0.0.10:7443"]', 'host = "10.0.0.10"'])
def test_an_address_of_either_kind_is_enough(link: str) -> None:
    check_ec2(config.parse(f'[link]\n{link}\n[cloud]\nkind = "ec2"\n', "controller.toml"))
