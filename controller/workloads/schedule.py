"""Schedules as cron writes them: five fields, names of months and days, steps, ranges, words like @daily. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

_WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_NONE: Mapping[str, int] = {}
_FIELDS: tuple[tuple[str, int, int, Mapping[str, int]], ...] = (
    ("minute", 0, 59, _NONE),
    ("hour", 0, 23, _NONE),
    ("day of month", 1, 31, _NONE),
    ("month", 1, 12, {name: number for number, name in enumerate(_MONTHS, 1)}),
    ("day of week", 0, 7, {name: number for number, name in enumerate(_DAYS)}),
)
# A day that comes in leap years only is at most so far away.
FURTHEST = datetime.timedelta(days=8 * 366)


class Schedule(msgspec.Struct, frozen=True):
    """A schedule that was read. `any_day` and `any_weekday` say that these fields are stars."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def day(self, at: datetime.datetime) -> bool:
        """Whether the day is one of the schedule's: where both kinds of day are given, either will do."""
        weekday = (at.weekday() + 1) % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return at.day in self.days and weekday
        return at.day in self.days or weekday


def parsed(text: str) -> Schedule:
    """The schedule. Raises ValueError with the reason."""
    parts = _WORDS.get(text.strip(), text).split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: [{text}]")
    found = [_field(part, *bounds) for part, bounds in zip(parts, _FIELDS, strict=True)]
    weekdays = frozenset(number % 7 for number in found[4])
    stars = [part.startswith(("*", "?")) for part in parts]
    return Schedule(found[0], found[1], found[2], found[3], weekdays, any_day=stars[2], any_weekday=stars[4])


def _field(text: str, name: str, low: int, high: int, names: Mapping[str, int]) -> frozenset[int]:
    numbers: set[int] = set()
    for part in text.split(","):
        span, slash, every = part.partition("/")
        step = _number(every, name, names) if slash else 1
        if step < 1:
            raise ValueError(f"step of {name} must be a positive number: {part}")
        if span in {"*", "?"}:
            first, last = low, high
        else:
            begin, dash, end = span.partition("-")
            first = _number(begin, name, names)
            last = _number(end, name, names) if dash else (high if slash else first)
        if not low <= first <= last <= high:
            raise ValueError(f"{name} must be from {low} to {high}: {part}")
        numbers.update(range(first, last + 1, step))
    return frozenset(numbers)


def _number(text: str, name: str, names: Mapping[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise ValueError(f"failed to parse {name}: {text!r} is no number")
    return int(text)


def zone(name: str | None) -> datetime.tzinfo:
    """A time zone by its name, UTC for none. Raises ValueError for an unknown one."""
    if not name:
        return datetime.UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {name}") from error


def following(schedule: Schedule, after: float, where: datetime.tzinfo) -> float | None:
    """The first moment of the schedule after this one, in unix seconds; None where there is none."""
    at = datetime.datetime.fromtimestamp(after, where).replace(second=0, microsecond=0) + datetime.timedelta(minutes=1)
    at = at.replace(tzinfo=None)
    end = at + FURTHEST
    while at < end:
        if at.month not in schedule.months:
            at = (at.replace(day=1, hour=0, minute=0) + datetime.timedelta(days=32)).replace(day=1)
        elif not schedule.day(at):
            at = at.replace(hour=0, minute=0) + datetime.timedelta(days=1)
        elif at.hour not in schedule.hours:
            at = at.replace(minute=0) + datetime.timedelta(hours=1)
        elif at.minute not in schedule.minutes:
            at += datetime.timedelta(minutes=1)
        else:
            moment = at.replace(tzinfo=where).timestamp()
            # An hour that a change of the clock leaves out, or has twice, is not gone back to.
            if moment > after:
                return moment
            at += datetime.timedelta(minutes=1)
    return None
