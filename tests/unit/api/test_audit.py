"""What is noted in the audit log, and how its file grows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.api import audit
from controller.api.people import AccessRequest


@pytest.mark.parametrize(
    ("asked", "code", "noted"),
    [
        (AccessRequest(verb="get", resource="pods"), 200, False),
        (AccessRequest(verb="get", resource="pods"), 403, True),
        (AccessRequest(verb="list", resource="secrets"), 200, True),
        (AccessRequest(verb="get", resource="pods", part="log"), 200, False),
        (AccessRequest(verb="get", resource="pods", part="exec"), 101, True),
        (AccessRequest(verb="delete", resource="pods"), 404, True),
    ],
)
def test_changes_sessions_secrets_and_refusals_are_noted(asked: AccessRequest, code: int, *, noted: bool) -> None:
    assert audit.worth(asked, code, reads=False) == noted
    assert audit.worth(asked, code, reads=True)


async def test_the_file_is_set_aside_when_it_is_full_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for number in range(6):
        async with audit.running(path, lambda: 0.0, largest=100, files=3) as notes:
            notes.note("me", "delete", "pods", f"p{number}", "default", 200)
    kept = sorted(one.name for one in tmp_path.iterdir())
    assert kept == ["audit.log", "audit.log.1", "audit.log.2"]
    assert json.loads(path.read_text())["name"] == "p5"
    assert json.loads((tmp_path / "audit.log.2").read_text())["name"] == "p3"


async def test_nothing_is_written_where_nothing_is_wanted(tmp_path: Path) -> None:
    async with audit.running(None, lambda: 0.0) as notes:
        notes.note("me", "delete", "pods", "p", "default", 200)
    assert not list(tmp_path.iterdir())


async def test_strangers_cannot_push_what_others_did_out_of_the_file(tmp_path: Path) -> None:
    path, clock = tmp_path / "audit.log", [1000.0]
    long = AccessRequest(verb="get", resource="/" + "x" * 8000)
    async with audit.running(path, lambda: clock[0]) as notes:
        for _ in range(2000):
            notes.request("nobody", long, 401)
        notes.request("me", AccessRequest(verb="delete", resource="pods", name="p"), 200)
        clock[0] += 1
        notes.request("nobody", long, 401)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(lines) == audit.STRANGERS_AT_ONCE + 2
    assert lines[-2]["who"] == "me"
    assert lines[-1]["not_noted"] == 2000 - audit.STRANGERS_AT_ONCE
    assert path.stat().st_size < 40_000
