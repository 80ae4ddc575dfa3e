"""The command itself: its subcommands, and how a fault is told: one sentence, an exit code, never a traceback."""

from __future__ import annotations

import sys

import click

from cellwire.faults import Fault
from controller.cli import (
    cells_command,
    choose,
    config_command,
    controller,
    cost_command,
    doctor,
    image_command,
    prices_command,
    shim,
    status_command,
    teardown_command,
    token,
    worker_command,
)


@click.group()
def chinampa() -> None:
    """Nodeless Kubernetes: every pod gets a cloud instance of its own."""


COMMANDS = (
    controller.command,
    cells_command.command,
    status_command.command,
    doctor.command,
    choose.command,
    prices_command.command,
    image_command.command,
    cost_command.command,
    token.command,
    teardown_command.command,
    worker_command.command,
    shim.command,
    config_command.command,
)
for command in COMMANDS:
    chinampa.add_command(command)


def main() -> int:
    """Run the command line; the exit code."""
    try:
        chinampa(standalone_mode=False)
    except Fault as fault:
        click.echo(f"chinampa: {fault}", err=True)
        return 1
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.exceptions.Abort:
        return 130
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
