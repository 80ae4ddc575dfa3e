"""chinampa config: the documentation of all settings, or a look at a file before it is used."""

from __future__ import annotations

from pathlib import Path

import click

from controller.config import documentation, load


@click.command("config")
@click.option("--check", "path", type=click.Path(path_type=Path), help="Say whether this file would be accepted.")
def command(path: Path | None) -> None:
    """Print docs/config.md, or check a config file."""
    if path is None:
        click.echo(documentation(), nl=False)
        return
    load(path)
    click.echo(f"{path}: good")
