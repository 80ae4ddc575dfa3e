"""The command itself: its subcommands, and how a fault is told: one sentence, an exit code, never a traceback."""

from __future__ import annotations

import sys

import click

from cellwire.faults import Fault
from controller.cli import (
    cells,
    choose,
    config,
    controller,
    cost,
    doctor,
    image,
    prices,
    shim,
    status,
    teardown,
    token,
    worker,
)


@click.group()
def chinampa() -> None:
    """Nodeless Kubernetes: every pod gets a cloud instance of its own."""


COMMANDS = (
    controller.command,
    cells.command,
    status.command,
    doctor.command,
    choose.command,
    prices.command,
    image.command,
    cost.command,
    token.command,
    teardown.command,
    worker.command,
    shim.command,
    config.command,
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
