"""chinampa config: the documentation of all settings, or a look at a file before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from controller.config import Row, load, table


@click.command("config")
@click.option("--check", "path", type=click.Path(path_type=Path), help="Say whether this file would be accepted.")
def command(path: Path | None) -> None:
    """Print docs/config.md, or check a config file."""
    if path is None:
        click.echo(documentation(), nl=False)
        return
    load(path)
    click.echo(f"{path}: good")


def documentation() -> str:
    """docs/config.md."""
    lines = [
        "# Settings of the controller",
        "",
        "Made from the rooms' `settings.py` by `chinampa config`. A TOML file, named by `--config`;",
        "each setting but those in lists of tables is also a flag of `chinampa controller`.",
        "",
        "| key | flag | type | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for row in table():
        flag = f"`{row.flag}`" if row.flag else ""
        unit = f" In {row.unit}." if row.unit else ""
        help_text = row.help.replace("|", "\\|")
        lines.append(f"| `{row.key}` | {flag} | {row.type_name} | {_shown(row)} | {help_text}{unit} |")
    return "\n".join(lines) + "\n"


def _shown(row: Row) -> str:
    if row.required:
        return "must be set"
    if row.default is None:
        return "unset"
    value = list(cast("tuple[object, ...]", row.default)) if isinstance(row.default, tuple) else row.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, (int, float, list)) else f'`"{value}"`'
