"""chinampa prices: what instance types cost, by the running controller's knowledge or the bundled snapshot's."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from cellwire.faults import Fault, Kind
from controller.api.priced import sheet
from controller.cli import snapshot
from controller.cli.asking import ask, config_option


@click.command("prices")
@config_option
@click.option("--region", default="us-east-1", show_default=True, help="Region whose bundled prices count.")
@click.option("--bundled", "only_bundled", is_flag=True, help="Ask no controller: show the bundled snapshot.")
@click.option("--family", "families", multiple=True, help='Only these ("m7i"; of types, a pattern: "c7*.large").')
@click.option("--max", "most", type=click.FloatRange(min=0, min_open=True), help="Nothing dearer, in USD per hour.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def command(
    config_path: Path | None,
    region: str,
    families: tuple[str, ...],
    most: float | None,
    *,
    only_bundled: bool,
    as_json: bool,
) -> None:
    """List instance types with what they cost, cheapest first, and where the figures are from."""
    told = _bundled(region) if only_bundled else _known(config_path, region)
    rows = [row for row in told["types"] if _shown(row, families, most)]
    if as_json:
        click.echo(json.dumps({**told, "types": rows}, indent=2))
        return
    console = Console(width=200, highlight=False)
    console.print(_table(rows))
    console.print(f"\n{len(rows)} of {len(told['types'])} types. Where the figures are from:")
    for source in told["sources"]:
        fault = f"; not newer, for {source['fault']}" if source["fault"] else ""
        console.print(f"  {source['part']:<10} {source['source']}, {_age(source)}{fault}", soft_wrap=True, markup=False)


def _known(config_path: Path | None, region: str) -> dict[str, Any]:
    """What a running controller knows; the snapshot where none runs."""
    try:
        told = ask(config_path, "/prices")
    except Fault as fault:
        if fault.kind is not Kind.UNAVAILABLE:
            raise
        click.echo("no controller runs here: these are the bundled snapshot's prices", err=True)
        return _bundled(region)
    return told


def _bundled(region: str) -> dict[str, Any]:
    found, sources = snapshot.offers(region, [region])
    return sheet(found, sources, time.time())


def _shown(row: Mapping[str, Any], families: Sequence[str], most: float | None) -> bool:
    name = str(row["type"])
    if families and not any(name.partition(".")[0] == each or fnmatchcase(name, each) for each in families):
        return False
    return most is None or row["least"] <= most


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("TYPE", "ARCH", "CPU", "MEMORY", "GPUS", "ON-DEMAND USD/H", "SPOT USD/H BY ZONE"):
        table.add_column(title, no_wrap=title != "SPOT USD/H BY ZONE")
    for row in rows:
        table.add_row(
            row["type"],
            row["architecture"],
            f"{row['cpu_millis']}m",
            f"{row['memory_mib']} MiB",
            row["gpus"] or "-",
            f"{row['on_demand']:.4f}" if row["on_demand"] else "-",
            "  ".join(f"{zone} {usd:.4f}" for zone, usd in row["spot"].items()) or "-",
        )
    return table


def _age(source: Mapping[str, Any]) -> str:
    seconds = source["age_seconds"]
    if seconds is None:
        return "as it came with the code"
    return f"{seconds / 3600:.1f} h old" if seconds >= 3600 else f"{seconds / 60:.0f} min old"
