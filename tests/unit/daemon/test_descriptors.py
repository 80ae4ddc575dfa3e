"""How many descriptors the controller has."""

from __future__ import annotations

import resource

import pytest

from controller.process import DESCRIPTORS, descriptors

NO_LIMIT = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "right"),
    [
        (1024, 524_288, DESCRIPTORS),
        (1024, 4096, 4096),
        (1024, NO_LIMIT, DESCRIPTORS),
        (100_000, 524_288, 100_000),
        (NO_LIMIT, NO_LIMIT, NO_LIMIT),
    ],
)
def test_the_controller_has_as_many_as_it_is_allowed_and_never_fewer_than_it_was_given(
    soft: int, hard: int, right: int
) -> None:
    assert descriptors(soft, hard) == right
