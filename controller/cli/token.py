"""chinampa token: rights for people and programs, by tokens of their own."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from controller.cli.asking import ask, config_option

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
    """Make, list and revoke tokens for the pods API."""


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
def revoke(config_path: Path | None, name: str) -> None:
    """End a token at once, its sessions and watches too. Pods that were made with it run on."""
    ask(config_path, f"/tokens/{name}", "DELETE")
    click.echo(f"token {name} is revoked")


def _until(at: float) -> str:
    if not at:
        return "never over"
    over = "over since" if at <= time.time() else "until"
    return f"{over} {time.strftime('%Y-%m-%d %H:%MZ', time.gmtime(at))}"
