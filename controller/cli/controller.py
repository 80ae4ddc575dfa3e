"""chinampa controller: run the daemon."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import click

from controller.cli.asking import config_option, settings_of
from controller.config import Row, table
from hostkit import collection


def _parameter(row: Row) -> str:
    return row.flag.removeprefix("--").replace("-", "_")


FLAGS = {_parameter(row): row for row in table() if row.flag}


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """A flag for each setting of the table."""
    for row in reversed(FLAGS.values()):
        kinds: dict[type, Any] = {bool: bool, int: int, float: float, Path: click.Path(path_type=Path)}
        several = row.type is tuple
        command = click.option(
            row.flag,
            type=kinds.get(row.type, str),
            multiple=several,
            default=None,
            help=f"{row.help} ({row.unit})" if row.unit else row.help,
        )(command)
    return command


def given(flags: Mapping[str, object]) -> dict[str, object]:
    """The settings that flags name, by their keys."""
    return {FLAGS[name].key: value for name, value in flags.items() if value not in (None, ())}


@contextmanager
def without(package: str) -> Generator[None]:
    """An import without a package that this process will not use, where a library imports it only if it is there.

    What is imported meanwhile finds no such package, unless it is loaded already; afterwards it is there as ever.
    """
    if package in sys.modules:
        yield
        return
    loaded = cast("dict[str, object]", sys.modules)
    loaded[package] = None  # an import of it raises ModuleNotFoundError
    try:
        yield
    finally:
        del loaded[package]


@click.command("controller")
@config_option
@with_flags
def command(config_path: Path | None, **flags: object) -> None:
    """Run the controller until SIGTERM; pods outlive it. Flags win over the file."""
    settings = settings_of(config_path, given(flags))
    collection.put_off()
    # Only here: the other commands need none of the rooms, and are quicker without.
    # The log needs nothing of rich, which structlog loads wherever it is installed.
    with without("rich"):
        from controller import daemon  # noqa: PLC0415

    daemon.run(settings)
