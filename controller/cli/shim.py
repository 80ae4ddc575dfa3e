"""chinampa shim: a worker's shim as a process of its own, with a central controller elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from controller.cli.asking import config_option, settings_of
from controller.cli.controller import given, with_flags, without
from hostkit import collection


@click.command("shim")
@config_option
@click.option("--controller", multiple=True, help="Link of a controller, host:port; of several, each.")
@click.option("--fingerprint", help="Of their authority, to join: as `chinampa token worker` prints it.")
@click.option(
    "--token", envvar="CHINAMPA_WORKER_TOKEN", default="", help="To join: as `chinampa token worker` prints it."
)
@with_flags
def command(
    config_path: Path | None, controller: tuple[str, ...], fingerprint: str | None, token: str, **flags: object
) -> None:
    """Serve a kubelet on this worker until SIGTERM, with cells of a central controller; pods outlive it.

    The token is used once; afterwards the worker is known by the certificate in its state folder. Flags win over the
    file.
    """
    named = {"remote.controllers": controller or None, "remote.fingerprint": fingerprint}
    settings = settings_of(config_path, given(flags) | {key: value for key, value in named.items() if value})
    collection.put_off()
    # Only here: the other commands need none of the rooms, and are quicker without.
    # The log needs nothing of rich, which structlog loads wherever it is installed.
    with without("rich"):
        from controller import shim_daemon  # noqa: PLC0415

    shim_daemon.run(settings, token)
