"""The command itself: its subcommands, and how a fault is told: one sentence, an exit code, never a traceback.

A subcommand is imported when it is run: all of them together cost half a second, the one seldom a quarter of that.
"""

from __future__ import annotations

import importlib
import sys
from collections import UserDict
from typing import Any

import click

from cellwire.faults import Fault
from hostkit import collection

# By name, the module whose `command` it is.
COMMANDS = {
    "controller": "controller",
    "cells": "cells_command",
    "status": "status_command",
    "doctor": "doctor",
    "choose": "choose",
    "prices": "prices_command",
    "image": "image_command",
    "cost": "cost_command",
    "token": "token",
    "teardown": "teardown_command",
    "worker": "worker_command",
    "shim": "shim",
    "config": "config_command",
}


class _Subcommands(UserDict[str, Any]):
    """Commands by name: the values are modules, the items what they define."""

    def __getitem__(self, key: str) -> click.Command:
        return importlib.import_module(f"controller.cli.{super().__getitem__(key)}").command


@click.group(commands=_Subcommands(COMMANDS))
def chinampa() -> None:
    """Nodeless Kubernetes: every pod gets a cloud instance of its own."""


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
    finally:
        collection.leave_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
