"""chinampa cost: what cells have cost, by whatever they were for."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
from rich.console import Console
from rich.table import Table

from controller.cli.asking import ask, config_option
from controller.cli.token import seconds
from controller.fleet.charges import BY
from controller.model.cost import dollars


@click.command("cost")
@config_option
@click.option("--since", default="24h", show_default=True, help='How far back, in whole hours ("24h", "7d").')
@click.option("--by", default="namespace", show_default=True, help=f"{', '.join(BY)}, label=NAME; comma-separated.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def command(config_path: Path | None, since: str, by: str, *, as_json: bool) -> None:
    """What cells have cost: instances at the prices of the time, without volumes, addresses and traffic."""
    names = [name.strip() for name in by.split(",") if name.strip()]
    for name in names:
        if name not in BY and not (name.startswith("label=") and len(name) > len("label=")):
            raise click.BadParameter(f"{name!r} is none of {', '.join(BY)}, label=NAME", param_hint="--by")
    query = urlencode({"since": time.time() - (seconds(since) or time.time()), "by": ",".join(names)})
    found = ask(config_path, f"/costs?{query}")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    print_table(names, found)


def print_table(names: list[str], found: list[dict[str, Any]]) -> None:
    """A row a group, the dearest first, and the sum."""
    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name.removeprefix("label=").upper(), no_wrap=True)
    for title in ("USD", "CELL-HOURS"):
        table.add_column(title, no_wrap=True, justify="right")
    for one in found:
        table.add_row(*(part or "-" for part in one["group"]), dollars(one["usd"]), f"{one['hours']:.2f}")
    usd, hours = (sum(one[part] for one in found) for part in ("usd", "hours"))
    table.add_row(*["total", *[""] * (len(names) - 1)], dollars(usd), f"{hours:.2f}")
    Console(width=200, highlight=False).print(table)
