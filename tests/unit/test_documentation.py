"""What the documents name is there: files, modules, targets of make, commands and links."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from controller.cli.program import chinampa

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
FOLDERS = "bench|cellagent|controller|deploy|docs|examples|hostkit|images|proto|scripts|tests"
# Beside whole paths, the page on the rooms shortens those of controller and agent.
SHORTENED = ("controller", "cellagent", "proto/cellwire")


def there(path: str) -> bool:
    return any((ROOT / f"{path}{ending}").exists() for ending in ("", ".py"))


def quoted(text: str) -> set[str]:
    return set(re.findall(r"`([^`\n]+)`", text))


def missing(document: Path) -> list[str]:
    text = document.read_text()
    words = quoted(text)
    paths = {word for word in words if re.fullmatch(rf"(?:{FOLDERS})/[\w./-]+", word)}
    modules = {word for word in words if re.fullmatch(r"controller(\.[a-z_0-9]+)+", word)}
    links = {
        link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link and not link.startswith("mailto:")
    }
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = {word.split()[1] for word in words if re.match(r"make [a-z-]+", word)}
    commands = {said for word in words if (found := re.match(r"chinampa ([a-z]+)", word)) and (said := found.group(1))}
    known = click.Context(chinampa).command.to_info_dict(click.Context(chinampa))["commands"]
    return [
        *(path for path in paths if not there(path)),
        # The last word may be a name in the module.
        *(each for each in modules if not there(each.replace(".", "/")) and not there(_module_of(each))),
        *(link for link in links if not (document.parent / link).exists()),
        *(f"make {target}" for target in made - targets),
        *(f"chinampa {command}" for command in commands - set(known)),
    ]


def _module_of(name: str) -> str:
    return name.rpartition(".")[0].replace(".", "/")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda each: str(each.relative_to(ROOT)))
def test_what_a_document_names_is_there(document: Path) -> None:
    assert missing(document) == []


def test_a_newcomers_walk_leads_through_files_that_are_there() -> None:
    words = quoted((ROOT / "docs" / "architecture.md").read_text())
    walked = {word for word in words if re.fullmatch(r"[a-z_0-9]+(/[a-z_0-9]+)+", word)}
    assert walked
    assert [word for word in walked if not there(word) and not any(there(f"{room}/{word}") for room in SHORTENED)] == []
