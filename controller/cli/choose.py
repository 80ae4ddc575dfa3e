"""chinampa choose: which instance types fit a pod, what they cost, and why the others do not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml
from rich.console import Console
from rich.table import Table

from cellwire.faults import Fault, Kind
from controller.choice.catalogue import Catalogue, bundled_offers
from controller.choice.demand import of_pod
from controller.choice.filters import DEFAULT_ARCHITECTURES
from controller.choice.rank import Explanation, explain
from controller.choice.unavailable import Unavailable
from controller.choice.wishes import read
from controller.pods import registries

CATALOGUE = Path(__file__).resolve().parent.parent / "clouds" / "ec2" / "catalogue.json"


@click.command("choose")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), required=True, help="A pod's manifest.")
@click.option("--region", default="us-east-1", show_default=True, help="Region whose prices count.")
@click.option("--zone", "zones", multiple=True, default=("a",), help="Zones, by their last letter.")
@click.option("--ask", is_flag=True, help="Ask registries for which processors the pod's images are built.")
@click.option("--most", default=10, show_default=True, help="How many to show.")
def command(path: Path, region: str, zones: tuple[str, ...], most: int, *, ask: bool) -> None:
    """Explain the choice of an instance for a pod."""
    pod = _manifest(path)
    demand = of_pod(pod.get("spec") or {})
    if ask and not demand.architectures:
        demand = msgspec.structs.replace(demand, architectures=asyncio.run(_architectures(pod["spec"])))
    wishes = read((pod.get("metadata") or {}).get("annotations") or {})
    offers = bundled_offers(CATALOGUE.read_text(), region, [f"{region}{zone}" for zone in zones])
    found = explain(demand, wishes, Catalogue(offers), Unavailable(), time.time())
    click.echo(f"demand: {demand.cpu_millis}m CPU, {demand.memory_mib} MiB memory, {demand.gpus} GPUs (with overhead)")
    click.echo(f"processors: {', '.join(wishes.architectures or demand.architectures or DEFAULT_ARCHITECTURES)}")
    _show(found, most)


async def _architectures(spec: Mapping[str, Any]) -> tuple[str, ...]:
    images = [str(each.get("image", "")) for key in ("initContainers", "containers") for each in spec.get(key) or ()]
    async with registries.asking({}) as asked:
        return await asked.architectures(images)


def _show(found: Explanation, most: int) -> None:
    table = Table(box=None, pad_edge=False)
    for title in ("TYPE", "ZONE", "BOUGHT", "CPU", "MEMORY", "LIST USD/H", "COSTS USD/H"):
        table.add_column(title)
    for each in found.ranking.ranked[:most]:
        offer, shape = each.offer, each.offer.shape
        table.add_row(
            shape.type,
            offer.zone,
            offer.launch_type.value,
            f"{shape.cpu_millis}m",
            f"{shape.memory_mib} MiB",
            f"{offer.usd_per_hour:.4f}",
            f"{each.usd_per_hour:.4f}",
        )
    console = Console(width=160, highlight=False)
    console.print(table)
    console.print(f"\nof {found.considered} offers were turned away:")
    for name, count in sorted(found.rejected.items(), key=lambda row: -row[1]):
        console.print(f"  {count:5} by {name:<13} {found.examples[name]}")


def _manifest(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise Fault(Kind.INVALID, f"manifest {path}", str(error)) from error
    if not isinstance(document, dict) or document.get("kind") != "Pod":
        raise Fault(Kind.INVALID, f"manifest {path}", "it is no Pod", "name a file with one Pod")
    return document
