"""Fields that an object of a body has twice, of which the last one counts: found in one walk, told by paths. Pure.

A client chooses how long names are, how deep they lie and how many come twice. So a path is written only for a field
that is told of, and no more are told than anybody would read.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

from controller.objects.admission import LONGEST_PATH, MOST_WARNINGS
from controller.objects.fields import Json


class FieldPlace(NamedTuple):
    """Place of a value in a body: a field or a member of a list, within another place or (None) at the top."""

    within: FieldPlace | None
    step: str | int

    def __str__(self) -> str:
        """As a person reads it; what is too long for that is cut."""
        steps: list[str | int] = []
        place: FieldPlace | None = self
        while place is not None:
            steps.append(place.step)
            place = place.within
        said = "".join(f"[{one}]" if isinstance(one, int) else f".{one[:LONGEST_PATH]}" for one in reversed(steps))
        return said.removeprefix(".")


class Twice:
    """Collects what comes twice."""

    def __init__(self) -> None:
        self._found: dict[str, None] = {}

    def add(self, place: FieldPlace) -> None:
        """This field came again."""
        if len(self._found) < MOST_WARNINGS:
            self._found[str(place)] = None

    @property
    def paths(self) -> tuple[str, ...]:
        """Each once, in the order in which they came."""
        return tuple(self._found)


def duplicates_of(data: bytes) -> tuple[str, ...]:
    """The paths of fields that come twice in a body of JSON."""
    seen_twice = False

    def members(listed: list[tuple[str, Any]]) -> Json:
        nonlocal seen_twice
        found = dict(listed)
        seen_twice = seen_twice or len(found) < len(listed)
        return found

    twice = Twice()
    try:
        json.loads(data, object_pairs_hook=members)
        if seen_twice:
            _walk(json.loads(data, object_pairs_hook=_Members), None, twice)
    except (ValueError, RecursionError):
        return ()  # whoever reads it says what is wrong
    return twice.paths


class _Members(tuple[tuple[str, Any], ...]):
    """The fields of an object, each as often as it was written."""

    __slots__ = ()


def _walk(value: object, within: FieldPlace | None, twice: Twice) -> None:
    if isinstance(value, _Members):
        seen: set[str] = set()
        for name, member in value:
            place = FieldPlace(within, name)
            if name in seen:
                twice.add(place)
            seen.add(name)
            _walk(member, place, twice)
    elif isinstance(value, list):
        for index, member in enumerate(cast("list[Any]", value)):
            _walk(member, FieldPlace(within, index), twice)
