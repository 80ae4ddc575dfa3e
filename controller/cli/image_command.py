"""chinampa image: publish a baked disk as a machine image in the AWS account, and list what is published."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from controller.cli.asking import config_option, settings_of
from controller.clouds.ec2.ec2_settings import Ec2Settings

_region = click.option("--region", default="", help="Home region.  [default: cloud.ec2.region]")


@click.group("image")
def command() -> None:
    """Machine images of cells in the AWS account."""


@command.command("publish")
@click.argument("disk", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@_region
@click.option("--copy-to", "regions", multiple=True, metavar="REGION", help="Copy it there, too; may be repeated.")
@click.option("--keep", type=click.IntRange(min=1), default=3, show_default=True, help="How many stay in each region.")
@click.option("--key", default="", metavar="ARN", help="KMS key of the snapshot.  [default: the account's own]")
def publish(disk: Path, config_path: Path | None, region: str, regions: tuple[str, ...], keep: int, key: str) -> None:
    """Upload DISK as a snapshot, register it as an image, and print the image of each region.

    An upload that was cut off goes on where it was. Images beyond --keep from which nothing runs are taken away.
    """
    settings = _settings(config_path, region)
    made = asyncio.run(_publish(settings, disk, regions, keep, key))
    for where, image in made.items():
        click.echo(f"{where}\t{image}")


@command.command("list")
@config_option
@_region
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def show(config_path: Path | None, region: str, *, as_json: bool) -> None:
    """List the account's cell images, the newest first; the newest of an architecture is what `auto` launches."""
    import msgspec  # noqa: PLC0415

    found = asyncio.run(_list(_settings(config_path, region)))
    if as_json:
        click.echo(json.dumps([msgspec.to_builtins(one) for one in found], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("IMAGE", "ARCH", "STATE", "PUBLISHED", "AGENT", "COMMIT", "DISK"):
        table.add_column(title, no_wrap=True)
    for one in found:
        table.add_row(one.id, one.architecture, one.state, one.created, one.agent, one.commit[:12], one.disk[:12])
    Console(width=160, highlight=False).print(table)


def _settings(config_path: Path | None, region: str) -> Ec2Settings:
    import msgspec  # noqa: PLC0415

    settings = settings_of(config_path)
    chosen = settings.cloud.ec2
    return Ec2Settings.of(msgspec.structs.replace(chosen, region=region or chosen.region), settings.cluster)


async def _publish(settings: Ec2Settings, disk: Path, regions: tuple[str, ...], keep: int, key: str) -> dict[str, str]:
    # The room of EC2 is loaded by the commands that need it only.
    from controller.clouds.ec2 import calls as door  # noqa: PLC0415
    from controller.clouds.ec2.machine_images import publish as publishing  # noqa: PLC0415

    asked = publishing.Publication(
        disk=disk, home=settings.region, regions=regions, keep=keep, key=key, tags=settings.own_tags
    )
    with _bar() as bar:
        async with door.running(settings) as calls:
            return await publishing.publish(calls, asked, _Shown(bar))


async def _list(settings: Ec2Settings) -> tuple[Any, ...]:
    from controller.clouds.ec2 import calls as door  # noqa: PLC0415
    from controller.clouds.ec2.machine_images import own_images  # noqa: PLC0415

    async with door.running(settings) as calls:
        return await own_images.published(calls)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


class _Shown:
    """See `controller.clouds.ec2.machine_images.publish.PublishProgress`."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("disk", total=None)

    def stage(self, words: str) -> None:
        self._bar.console.print(words, highlight=False, markup=False)

    def blocks(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done << 19, total=total << 19)
