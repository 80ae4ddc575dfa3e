"""Schedules mean what cron means by them."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.workloads import schedule

UTC = datetime.UTC


def at(text: str, zone: str | None = None) -> float:
    return datetime.datetime.fromisoformat(text).replace(tzinfo=schedule.zone(zone)).timestamp()


@pytest.mark.parametrize(
    ("text", "after", "following"),
    [
        ("*/15 * * * *", "2026-11-28T10:00:30", "2026-11-28T10:15:00"),
        ("0 3 * * *", "2026-11-28T03:00:00", "2026-11-29T03:00:00"),
        ("@monthly", "2026-11-28T00:00:00", "2026-12-01T00:00:00"),
        ("0 0 * * mon", "2026-11-28T00:00:00", "2026-11-30T00:00:00"),
        ("0 0 * * 7", "2026-11-28T00:00:00", "2026-11-29T00:00:00"),
        ("0 0 13 * 5", "2026-11-28T00:00:00", "2026-12-04T00:00:00"),
        ("30 1-5/2 1 jan-mar *", "2026-11-28T00:00:00", "2027-01-01T01:30:00"),
        ("0 0 29 2 *", "2026-11-28T00:00:00", "2028-02-29T00:00:00"),
    ],
)
def test_the_next_moment_of_a_schedule(text: str, after: str, following: str) -> None:
    assert schedule.following(schedule.parsed(text), at(after), UTC) == at(following)


def test_a_day_that_never_comes_has_no_moment() -> None:
    assert schedule.following(schedule.parsed("0 0 31 2 *"), at("2026-01-01T00:00:00"), UTC) is None


def test_a_time_zone_moves_the_moment_with_its_clock() -> None:
    berlin = schedule.zone("Europe/Berlin")
    read = schedule.parsed("30 6 * * *")
    assert schedule.following(read, at("2026-07-01T00:00:00"), berlin) == at("2026-07-01T04:30:00")
    assert schedule.following(read, at("2026-12-01T00:00:00"), berlin) == at("2026-12-01T05:30:00")


@pytest.mark.parametrize("text", ["", "* * * *", "60 * * * *", "* * 0 * *", "*/0 * * * *", "5-1 * * * *", "x * * * *"])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        schedule.parsed(text)


def test_an_unknown_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown time zone"):
        schedule.zone("Mars/Olympus")


@given(st.text(alphabet="0123456789*/-,@adhilnouy ", max_size=24))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        schedule.parsed(text)
    except ValueError:
        return


@given(st.integers(0, 59), st.integers(0, 23), st.floats(1.7e9, 2e9))
def test_the_next_moment_is_later_and_on_the_schedule(minute: int, hour: int, after: float) -> None:
    found = schedule.following(schedule.parsed(f"{minute} {hour} * * *"), after, UTC)
    assert found is not None
    assert after < found <= after + 86400
    moment = datetime.datetime.fromtimestamp(found, UTC)
    assert (moment.hour, moment.minute, moment.second) == (hour, minute, 0)
