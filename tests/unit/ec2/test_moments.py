"""Times as AWS writes them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.clouds.ec2.calls import moment


@pytest.mark.parametrize(
    "told",
    ["2026-11-30T16:05:07.250Z", "2026-11-30T16:05:07.25Z", "Mon, 30 Nov 2026 16:05:07.25 GMT", 1796054707.25],
)
def test_a_time_is_the_same_however_it_is_written(told: object) -> None:
    assert moment(told) == datetime(2026, 11, 30, 16, 5, 7, 250000, UTC)
