"""chinampa status: how the running controller is."""

from __future__ import annotations

from pathlib import Path

import click

from controller.cli.asking import ask, config_option


@click.command("status")
@config_option
def command(config_path: Path | None) -> None:
    """Say how the running controller is."""
    status = ask(config_path, "/status")
    click.echo(f"controller  pid {status['pid']}, up {status['up_seconds']} s, cloud {status['cloud']}")
    click.echo(f"cells dial  {', '.join(status['link'])}")
    states = ", ".join(f"{count} {state}" for state, count in sorted(status["cells"].items())) or "none"
    click.echo(f"cells       {states}; {status['usd_per_hour']} USD/h")
