"""chinampa teardown: the way back from an AWS account."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from cellwire.faults import Fault, Kind
from controller.cli.asking import ask, config_option, settings_of
from controller.clouds.ec2 import calls as door
from controller.clouds.ec2 import cluster_teardown
from controller.clouds.ec2.cluster_teardown import Outcome, Thing
from controller.clouds.ec2.ec2_settings import Ec2Settings
from controller.config import CloudKind

# An account that is busy lets a call through in minutes; nothing waits for this one.
_PATIENCE_SECONDS = 300.0


@click.command("teardown")
@config_option
@click.option("--dry-run", is_flag=True, help="Only list what would be ended.")
@click.option("--images", is_flag=True, help="Also the images of cells and their snapshots, which all clusters share.")
@click.option("--yes", is_flag=True, help="Ask no question on a terminal.")
def command(config_path: Path | None, *, dry_run: bool, images: bool, yes: bool) -> None:
    """End everything that bears the cluster's tag in the AWS account: instances, volumes, interfaces, launch templates,
    security groups, routes. What others made, and other clusters, stay. May be run again at any time.
    """
    settings = settings_of(config_path)
    if settings.cloud.kind is not CloudKind.EC2:
        cause = f"cloud.kind is {settings.cloud.kind.value!r}"
        raise Fault(Kind.UNSUPPORTED, "teardown", cause, "name the config file of a controller on EC2 with --config")
    ec2 = msgspec.structs.replace(
        Ec2Settings.of(settings.cloud.ec2, settings.cluster), patience_seconds=_PATIENCE_SECONDS
    )
    if not dry_run:
        _require_no_controller(config_path)
    there = asyncio.run(_found(ec2, images=images))
    where = f"cluster {settings.cluster} in {ec2.region}"
    if dry_run or not there:
        for thing in there:
            click.echo(_told(thing))
        click.echo(f"{where}: {_count(there)}" + (" would be ended" if there else " is left"))
        return
    if not yes and sys.stdin.isatty():
        click.confirm(f"{where}: end {_count(there)}?", abort=True)
    outcome = asyncio.run(_end(ec2, images=images))
    click.echo(f"{where}: ended {_count(outcome.ended)}; {_count(each for each, _ in outcome.left)} is left")
    if outcome.left:
        for thing, why in outcome.left:
            click.echo(f"left: {_told(thing)}: {why}", err=True)
        sys.exit(1)


def _require_no_controller(config_path: Path | None) -> None:
    try:
        ask(config_path, "/status")
    except Fault as fault:
        if fault.kind is Kind.UNAVAILABLE:
            return
        raise
    cause = "the controller of this config file runs, and would launch anew what is ended"
    raise Fault(Kind.PRECONDITION, "teardown", cause, "stop it first")


async def _found(ec2: Ec2Settings, *, images: bool) -> tuple[Thing, ...]:
    async with door.running(ec2) as calls:
        return await cluster_teardown.found(ec2, calls, images=images)


async def _end(ec2: Ec2Settings, *, images: bool) -> Outcome:
    async with door.running(ec2) as calls:
        return await cluster_teardown.end(
            ec2, calls, images=images, told=lambda thing: click.echo(f"ended {_told(thing)}")
        )


def _told(thing: Thing) -> str:
    of = f" of {thing.of}" if thing.of else ""
    return f"{thing.kind} {thing.id}{of}" + (f" ({thing.name})" if thing.name else "")


def _count(things: Iterable[Thing]) -> str:
    """As in "2 instances, 1 volume"; "nothing"."""
    counted = Counter(thing.kind for thing in things)
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counted.items()) or "nothing"
