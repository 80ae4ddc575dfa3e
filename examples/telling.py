"""What the demonstration says: a line for each step with its time, and the tables at the end."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.table import Table
from rich.text import Text

console = Console(highlight=False, soft_wrap=True)
took: dict[str, float] = {}


@contextmanager
def chapter(title: str) -> Generator[None]:
    """Steps that belong together."""
    console.print()
    console.rule(Text(title, style="bold"), align="left", style="dim")
    yield


@contextmanager
def step(title: str) -> Generator[None]:
    """One line for one step, with its time once it is over."""
    begun = time.monotonic()
    console.print(Text.assemble(("▶ ", "cyan"), (title, "bold")))
    yield
    took[title] = time.monotonic() - begun
    console.print(Text.assemble(("  ✓ ", "green"), (f"{took[title]:.2f} s", "green")))


def show(text: str) -> None:
    """Indent what a program printed."""
    for line in text.rstrip().splitlines():
        console.print(Text(f"    {line}"), no_wrap=True, crop=False, overflow="ignore")


def show_seconds(title: str, rows: Mapping[str, float]) -> None:
    """A table of moments."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim")
    table.add_column("stage")
    table.add_column("seconds", justify="right")
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds:.3f}")
    console.print()
    console.print(table)
