"""Runs one benchmark by name, or all of them with a table at the end."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = {
    "pull": 0.40, "start": 0.60, "start_shim": 1.0, "stop": 0.60, "exec": 0.60, "exec_shim": 1.0, "logs": 0.45,
    "logs_shim": 0.70, "poll": 1.0, "stream": 1.0, "choice": 1.0, "pool": 0.75, "launch": 0.03, "footprint": 0.90,
    "services": 1.0, "scale": 1.0, "warm": 1.2, "lists": 1.5,
}  # fmt: skip


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith("_"))


def _flags() -> list[str]:
    return [word for word in sys.argv[1:] if word.startswith("--")]


def run(name: str) -> str:
    """Run one benchmark, its output shown as it comes; the ratio it ends with, or how it failed."""
    last = ""
    command = [sys.executable, "-m", f"bench.{name}", *_flags()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line
    found = re.match(r"ratio: ([\d.]+)", last)
    return found[1] if found and process.returncode == 0 else f"failed ({process.returncode})"


def main() -> int:
    wanted = [word for word in sys.argv[1:] if not word.startswith("--")] or names()
    unknown = set(wanted) - set(names())
    if unknown:
        print(f"bench: there is no benchmark {', '.join(unknown)}; there are {', '.join(names())}", file=sys.stderr)
        return 2
    if len(wanted) == 1:
        return 0 if not run(wanted[0]).startswith("failed") else 1
    results = {name: run(name) for name in wanted}
    print(f"\n{'benchmark':<14}{'ratio':>10}{'target':>10}")
    for name, result in results.items():
        print(f"{name:<14}{result:>10}{TARGETS.get(name, '-'):>10}")
    return 1 if any(result.startswith("failed") for result in results.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
