"""The version is written in one place."""

from __future__ import annotations

import tomllib
from pathlib import Path

from cellagent.boot.join import AGENT_VERSION
from cellagent.runtime import observing
from cellwire.version import VERSION

HERE = Path(__file__).resolve().parents[2]


def test_the_project_and_what_the_agent_says_of_itself_have_it_from_there() -> None:
    project = tomllib.loads((HERE / "pyproject.toml").read_text())
    assert "version" in project["project"]["dynamic"]
    assert project["tool"]["hatch"]["version"]["path"] == "proto/cellwire/version.py"
    assert AGENT_VERSION == observing.version().runtime_version == VERSION


def test_the_changelog_has_a_heading_for_it_or_gathers_for_it() -> None:
    headings = [line for line in (HERE / "CHANGELOG.md").read_text().splitlines() if line.startswith("## ")]
    assert headings[0] == "## Unreleased"
    assert any(VERSION in one for one in headings) or len(headings) == 1
