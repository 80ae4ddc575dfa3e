"""chinampa controller: run the daemon."""

from __future__ import annotations

from pathlib import Path

import click

from controller.cli.asking import config_option
from controller.config import load


@click.command("controller")
@config_option
def command(config_path: Path) -> None:
    """Run the controller until SIGTERM; pods outlive it."""
    config = load(config_path)
    # Only here: the other commands need none of the rooms, and are quicker without.
    from controller import daemon  # noqa: PLC0415

    daemon.run(config)
