"""The command `python -m images`: `bake` a disk, `bundle` the agent."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cellwire.faults import Fault
from images import bake


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and do it. 1 where it could not be done."""
    asked = _parser().parse_args(argv)
    began = time.monotonic()

    def say(words: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:6.1f} s  {words}\n")

    try:
        if asked.command == "bundle":
            digest = bake.bundle_agent(asked.out, asked.work, asked.arch, say)
        else:
            digest = _bake(asked, say)
    except Fault as fault:
        sys.stderr.write(f"images: {fault}\n")
        return 1
    say(f"{asked.out}: {asked.out.stat().st_size / 1e6:.0f} MB")
    sys.stdout.write(f"{digest}  {asked.out}\n")
    return 0


def _bake(asked: argparse.Namespace, say: Callable[[str], None]) -> str:
    manifest = bake.bake(
        bake.Bake(
            out=asked.out,
            work=asked.work,
            architecture=asked.arch,
            preload=tuple(filter(None, asked.preload.split(","))),
            mirrors=tuple(asked.mirror),
            same_as=asked.same_as,
        ),
        say,
    )
    say(f"{asked.out}: {manifest.data_bytes / 1e6:.0f} MB of it are data")
    return manifest.disk_sha256


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="images", description="The machine image of a cell.")
    commands = parser.add_subparsers(dest="command", required=True)
    baking = commands.add_parser("bake", help="bake a raw disk from Debian packages")
    baking.add_argument("--out", type=Path, default=Path("build/cell-amd64.raw"), help="the disk")
    bundling = commands.add_parser("bundle", help="pack the agent for stock images")
    bundling.add_argument("--out", type=Path, default=Path("build/agent-amd64.tar.gz"), help="the archive")
    for each in (baking, bundling):
        each.add_argument("--work", type=Path, default=Path("build/work"), help="where trees are kept between bakes")
        each.add_argument("--arch", default="amd64", help="amd64 or arm64")
    baking.add_argument("--preload", default="", metavar="REF,…", help="container images to be inside")
    baking.add_argument(
        "--mirror", action="append", default=[], metavar="HOST=URL", help="where images of a registry are fetched first"
    )
    baking.add_argument(
        "--same-as", type=Path, metavar="MANIFEST", help="refuse to bake from other packages than an earlier bake did"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
