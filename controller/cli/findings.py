"""Findings of checks, on the terminal."""

from __future__ import annotations

import sys

import click

from controller.model.finding import Finding, Verdict

_COLOURS = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.LACKS: "red"}


class FindingsPrinter:
    """Prints each finding as it comes, its thing in `width` columns; `end` exits with 1 where something is lacking."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._lacking = 0

    def print(self, found: Finding) -> None:
        """One line."""
        self._lacking += found.verdict is Verdict.LACKS
        verdict = click.style(found.verdict.ljust(6), fg=_COLOURS[found.verdict])
        words = "; ".join(filter(None, (found.cause, found.mend)))
        click.echo(f"{verdict} {found.thing:<{self._width}} {words}".rstrip())

    def end(self) -> None:
        """Say how many things are lacking."""
        if self._lacking:
            click.echo(f"\n{self._lacking} thing(s) are lacking.", err=True)
            sys.exit(1)
