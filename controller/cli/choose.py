"""chinampa choose: which instance types fit a pod, what they cost, and why the others do not."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import click
import msgspec
import yaml
from rich.console import Console
from rich.table import Table

from cellwire.faults import Fault, Kind
from controller.api.admin import OfferSheet
from controller.choice.catalogue import Catalogue
from controller.choice.demand import Overhead
from controller.choice.filters import DEFAULT_ARCHITECTURES
from controller.choice.rank import Explanation, explain
from controller.choice.requirements import Requirements, read
from controller.choice.unavailable import Unavailable
from controller.cli import snapshot
from controller.cli.asking import ask, config_option, settings_of
from controller.model.cost import dollars
from controller.model.offer import Demand
from controller.objects.pod_demand import of_pod, spec_of
from controller.objects.schema.pods import PodSpec
from controller.pods import registries

# Kind → where in it the pod is.
_PODS: dict[str, tuple[str, ...]] = {
    "Pod": (),
    **dict.fromkeys(("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job"), ("spec", "template")),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}


@click.command("choose")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path), required=True, help='A manifest; "-" for stdin.')
@config_option
@click.option("--bundled", "only_bundled", is_flag=True, help="Ask no controller: go by the bundled snapshot.")
@click.option("--region", default="us-east-1", show_default=True, help="Region whose bundled prices count.")
@click.option("--zone", "zones", multiple=True, default=("a",), help="Zones of the snapshot, by their last letter.")
@click.option("--ask", "ask_registries", is_flag=True, help="Ask registries for which processors the images are built.")
@click.option("--most", default=10, show_default=True, help="How many to show.")
def command(
    path: Path,
    config_path: Path | None,
    region: str,
    zones: tuple[str, ...],
    most: int,
    *,
    only_bundled: bool,
    ask_registries: bool,
) -> None:
    """Explain the choice of an instance for each pod of a manifest."""
    pods = list(_pods(path))
    own = settings_of(config_path).overhead
    overhead = Overhead(cpu_millis=own.cpu, memory_mib=own.memory)
    catalogue, unavailable = _known(config_path, region, zones, only_bundled=only_bundled)
    for number, (name, pod) in enumerate(pods):
        spec = spec_of(pod.get("spec") or {})
        demand = of_pod(spec, overhead)
        if ask_registries and not demand.architectures:
            demand = msgspec.structs.replace(demand, architectures=asyncio.run(_architectures(spec)))
        requirements = read((pod.get("metadata") or {}).get("annotations") or {})
        if len(pods) > 1:
            click.echo(("\n" if number else "") + name)
        _tell(demand, requirements)
        _show(explain(demand, requirements, catalogue, unavailable, time.time()), most)


def _known(
    config_path: Path | None, region: str, zones: tuple[str, ...], *, only_bundled: bool
) -> tuple[Catalogue, Unavailable]:
    """What the running controller could buy now; by the snapshot where none runs."""
    if not only_bundled:
        try:
            sold = msgspec.convert(ask(config_path, "/offers"), OfferSheet)
        except Fault as fault:
            if fault.kind is not Kind.UNAVAILABLE:
                raise
            click.echo("no controller runs here: these are the bundled snapshot's prices", err=True)
        else:
            return Catalogue(sold.offers), Unavailable(dict(sold.refused))
    offers, _ = snapshot.offers(region, [f"{region}{zone}" for zone in zones])
    return Catalogue(offers), Unavailable()


async def _architectures(spec: PodSpec) -> tuple[str, ...]:
    images = [each.image for each in (*spec.initContainers, *spec.containers)]
    async with registries.asking({}) as asked:
        return await asked.architectures(images)


def _tell(demand: Demand, requirements: Requirements) -> None:
    disk = f", {demand.disk_gb} GB disk" if demand.disk_gb else ""
    whole = f"{demand.cpu_millis}m CPU, {demand.memory_mib} MiB memory, {demand.gpus} GPUs{disk}"
    click.echo(f"demand: {whole} (with overhead)")
    click.echo(f"processors: {', '.join(requirements.architectures or demand.architectures or DEFAULT_ARCHITECTURES)}")


def _show(found: Explanation, most: int) -> None:
    console = Console(width=160, highlight=False)
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
            dollars(offer.usd_per_hour),
            dollars(each.usd_per_hour),
        )
    if found.ranking.ranked:
        console.print(table)
    else:
        console.print("nothing fits")
    console.print(f"\nof {found.considered} offers {sum(found.rejected.values())} were turned away:")
    for name, count in sorted(found.rejected.items(), key=lambda row: -row[1]):
        console.print(f"  {count:5} by {name:<13} {found.examples[name]}")


def _pods(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and pod of each object in a manifest. Raises Fault INVALID for what runs no pod."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except (OSError, yaml.YAMLError) as error:
        raise Fault(Kind.INVALID, f"manifest {path}", str(error)) from error
    if not documents:
        raise Fault(Kind.INVALID, f"manifest {path}", "it is empty", "name a file with a Pod")
    for document in documents:
        kind = str(document.get("kind")) if isinstance(document, dict) else "no object"
        if kind not in _PODS:
            known = ", ".join(_PODS)
            raise Fault(Kind.INVALID, f"manifest {path}", f"{kind} is no Pod and has none", f"give it one of {known}")
        pod = cast("dict[str, Any]", document)
        name = f"{kind.lower()} {(pod.get('metadata') or {}).get('name', '')}"
        for part in _PODS[kind]:
            pod = pod.get(part) or {}
        yield name, pod
