"""chinampa token: rights for people, programs and workers, by tokens of their own."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from controller.cli.asking import ask, config_option, place

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds(text: str) -> float:
    """A duration ("12h", "30d"), or "never", as seconds; 0 for never. Raises BadParameter."""
    if text == "never":
        return 0.0
    found = re.fullmatch(r"(\d+)([smhdw])", text)
    if found is None or not int(found[1]):
        raise click.BadParameter(f'{text!r} is no duration: write it as "12h" or "30d", or "never"')
    return float(int(found[1]) * _UNITS[found[2]])


@click.group("token")
def command() -> None:
    """Make, list and revoke tokens, for the pods API and for workers."""


@command.command("create")
@config_option
@click.option("--role", type=click.Choice(["view", "edit", "admin"]), default="edit", show_default=True)
@click.option("--namespace", "-n", default="", help="Where the role holds; made if it is not there.  [default: all]")
@click.option("--name", default="", help="What the token is called.  [default: one is made up]")
@click.option("--expires", default="30d", show_default=True, help='After how long it is over ("12h", "30d", "never").')
@click.option(
    "--most-usd-hour", type=click.FloatRange(min=0), default=0.0, help="Most that the namespace's cells cost."
)
@click.option("--most-cells", type=click.IntRange(min=0), default=0, help="Most cells of the namespace.")
@click.option("--most-gpus", type=click.IntRange(min=0), default=0, help="Most GPUs of the namespace.")
@click.option("--kubeconfig", "as_kubeconfig", is_flag=True, help="Print a kubeconfig with it, not the bare token.")
def create(config_path: Path | None, expires: str, *, as_kubeconfig: bool, **wanted: object) -> None:
    """Make a token, and print it: it is not shown again."""
    made = ask(config_path, "/tokens", "POST", {**wanted, "seconds": seconds(expires)})
    click.echo(json.dumps(made["kubeconfig"], indent=2) if as_kubeconfig else made["token"])
    where = f"in the namespace {made['namespace']}" if made["namespace"] else "in all namespaces"
    click.echo(f"token {made['name']}: {made['role']} {where}, {_until(made['expires_at'])}", err=True)


@command.command("list")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def listing(config_path: Path | None, *, as_json: bool) -> None:
    """List the tokens: their names and rights, never the tokens themselves."""
    found = ask(config_path, "/tokens")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("NAME", "ROLE", "NAMESPACE", "CREATED", "EXPIRES"):
        table.add_column(title, no_wrap=True)
    for one in found:
        made = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(one["created_at"]))
        table.add_row(one["name"], one["role"], one["namespace"] or "(all)", made, _until(one["expires_at"]))
    Console(width=160, highlight=False).print(table)


@command.command("revoke")
@config_option
@click.argument("name")
@click.option("--worker", "is_worker", is_flag=True, help="NAME is a worker: its pods end with it.")
def revoke(config_path: Path | None, name: str, *, is_worker: bool) -> None:
    """End a token at once, its sessions and watches too. Pods that were made with it run on.

    A worker's cells are retired, and their pods end.
    """
    if is_worker:
        ended = ask(config_path, place("workers", name), "DELETE")
        click.echo(f"worker {name} is revoked; {ended['cells']} of its cells are retired")
        return
    ask(config_path, place("tokens", name), "DELETE")
    click.echo(f"token {name} is revoked")


@command.command("worker")
@config_option
@click.argument("name")
@click.option("--ttl", default="1h", show_default=True, help='How long it is good for ("30m", "1h").')
def worker(config_path: Path | None, name: str, ttl: str) -> None:
    """Make a token by which the worker NAME joins once with `chinampa shim`; take the name of its node."""
    lasting = seconds(ttl)
    if not lasting:
        raise click.BadParameter("the token of a worker is over at some time", param_hint="--ttl")
    made = ask(config_path, "/workers", "POST", {"name": name, "seconds": lasting})
    click.echo(made["token"])
    controllers = " ".join(f"--controller {one}" for one in made["controllers"])
    click.echo(
        f"good once, for {ttl}; on the worker:\n  CHINAMPA_WORKER_TOKEN=… chinampa shim {controllers}"
        f" --fingerprint {made['fingerprint']} --shim-socket /run/chinampa/shim.sock --remote-addresses ITS-ADDRESS",
        err=True,
    )


@command.command("workers")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def workers(config_path: Path | None, *, as_json: bool) -> None:
    """List the workers that have joined or may join."""
    found = ask(config_path, "/workers")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("NAME", "CELLS", "JOINED", "HEARD", "TOKEN"):
        table.add_column(title, no_wrap=True)
    for one in found:
        times = ("" if not one[key] else _moment(one[key]) for key in ("joined_at", "heard_at"))
        token = _until(one["token_until"]) if one["token_until"] else ""
        table.add_row(one["name"], str(one["cells"]), *times, token)
    Console(width=160, highlight=False).print(table)


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at))


def _until(at: float) -> str:
    if not at:
        return "never over"
    over = "over since" if at <= time.time() else "until"
    return f"{over} {time.strftime('%Y-%m-%d %H:%MZ', time.gmtime(at))}"
