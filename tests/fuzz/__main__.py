"""Fuzzes one reader, or each in turn.

    python -m tests.fuzz [TARGET ...] [--seconds N] [--start NUMBER] [--guided FOLDER]

Without more it damages good inputs at random. `--guided` lets atheris, where it is installed, find inputs by the code
that they reach, one target at a time, and keeps them in a folder.
"""

from __future__ import annotations

import argparse
import importlib
import random
import sys
from pathlib import Path
from typing import Any

from tests.fuzz.mutation import run
from tests.fuzz.targets import TARGETS


def guided(name: str, seconds: int, folder: Path) -> None:
    """Hand a target to atheris, which ends the process."""
    atheris: Any = importlib.import_module("atheris")
    target = TARGETS[name]
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], str(folder), f"-max_total_time={seconds}", "-max_len=16384"], target.attack)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=20.0, help="for each target")
    parser.add_argument("--start", type=int, default=random.randrange(1 << 32), help="of a run that is to be repeated")
    parser.add_argument("--guided", type=Path, help="the folder of inputs that atheris has found")
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(unknown)}; there are {', '.join(TARGETS)}")
    if asked.guided and len(asked.targets) != 1:
        parser.error("--guided takes one target")
    if asked.guided:
        guided(asked.targets[0], int(asked.seconds), asked.guided)
    for name in asked.targets or TARGETS:
        done = run(TARGETS[name], asked.seconds, asked.start)
        print(f"{name}: {done} inputs from {asked.start}, nothing found", flush=True)


if __name__ == "__main__":
    main()
