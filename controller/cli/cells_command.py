"""chinampa cells: what runs, where, for whom, and what it costs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from controller.cli.asking import ask, config_option
from controller.model.cost import dollars


@click.command("cells")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def command(config_path: Path | None, *, as_json: bool) -> None:
    """List the cells: of which pod, where, USD an hour, and USD since the launch (at least a minute is billed)."""
    cells = ask(config_path, "/cells")
    if as_json:
        click.echo(json.dumps(cells, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in (
        "CELL",
        "STATE",
        "POD",
        "TYPE",
        "BUY",
        "ZONE",
        "USD/H",
        "USD",
        "CPU",
        "MEMORY",
        "INSTANCE",
        "ADDRESS",
        "AGE",
    ):
        table.add_column(title, no_wrap=True)
    for cell in cells:
        state = cell["state"] + ("" if cell["connected"] or cell["state"] not in {"ready", "claimed"} else " (silent)")
        if said := cell["announced"]:
            at = f" at {time.strftime('%H:%M:%S', time.gmtime(said['at']))}Z" if said["at"] else ""
            state += f" ({said['kind']}{at})"
        table.add_row(
            cell["name"],
            state,
            cell["pod"] or "-",
            cell["type"] or "-",
            cell["launch_type"] or "-",
            cell["zone"] or "-",
            dollars(cell["usd_per_hour"]),
            dollars(cell["usd_so_far"]),
            *used(cell["vitals"]),
            cell["instance"] or "-",
            cell["address"] or "-",
            f"{cell['age_seconds']:.0f}s",
        )
    Console(width=200, highlight=False).print(table)


def used(vitals: dict[str, Any] | None) -> tuple[str, str]:
    """CPU and memory that a cell says it uses, as Kubernetes writes them."""
    if not vitals or not vitals["heard_at"]:
        return "-", "-"
    return f"{vitals['cpu_millis']}m", f"{vitals['memory_bytes'] >> 20}Mi"
