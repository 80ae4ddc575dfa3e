"""chinampa status: how the running controller is, or a worker's shim."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from controller.cli.asking import ask, config_option
from controller.model.cost import dollars


@click.command("status")
@config_option
def command(config_path: Path | None) -> None:
    """Say how the running controller is, or on a worker its shim."""
    status = ask(config_path, "/status")
    if "worker" in status:
        _tell_worker(status)
        return
    click.echo(f"controller  pid {status['pid']}, up {status['up_seconds']} s, cloud {status['cloud']}")
    click.echo(f"cells dial  {', '.join(status['link'])}")
    click.echo(f"cells       {_states(status)}")
    if unwritten := status.get("unwritten"):
        click.echo(f"records     the last write failed: {unwritten}")
    click.echo(
        f"cost        {dollars(status['usd_per_hour'])} USD/h; the cells that run have cost"
        f" {dollars(status['usd_so_far'])} USD so far"
    )
    if not status["pool"]:
        click.echo("pool        none ([[standby]] in the settings makes one)")
    for number, each in enumerate(status["pool"]):
        click.echo(f"{'' if number else 'pool':12}{_stock(each)}")
        for held in status["images"]:
            if held["of"] == each["of"]:
                click.echo(f"{'':12}{_held(held)}")


def _tell_worker(status: dict[str, Any]) -> None:
    click.echo(f"shim        pid {status['pid']}, up {status['up_seconds']} s, worker {status['worker']}")
    click.echo(f"controller  {status['controller'] or 'none answers: ' + status['why']}")
    click.echo(f"cells       {_states(status)}")


def _states(status: dict[str, Any]) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(status["cells"].items())) or "none"


def _stock(each: dict[str, Any]) -> str:
    """One class of warm cells."""
    until = each["paused_until"]
    paused = f"; nothing to be had, tried again at {_clock(until)}" if until > time.time() else ""
    return (
        f"{each['of']}: {each['ready']} ready and {each['warm'] - each['ready']} coming of {each['wanted']} wanted, "
        f"{dollars(each['usd_per_hour'])} USD/h; pods found one ready {each['hits']} times, booting {each['waited']}, "
        f"none {each['misses']}{paused}"
    )


def _held(held: dict[str, Any]) -> str:
    """One image that a class of warm cells is to hold."""
    fault = f"; not on one, for {held['fault']}" if held["fault"] else ""
    return f"  {held['image']}: on {held['there']} of {held['there'] + held['coming']}{fault}"


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%SZ", time.gmtime(at))
