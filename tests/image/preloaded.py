"""Bake a disk with a container image inside: `python -m tests.image.preloaded DISK`.

Outside of the tests, whose network has no way to package indexes.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys

from examples import image
from images import tree
from tests.support.registry import running_registry

REFERENCE = "registry.demo/web:1"


async def main(disk: str) -> int:
    """Bake it from a registry of this moment; the bake's own status."""
    async with running_registry() as registry:
        await asyncio.to_thread(image.push, f"http://{registry}", "web", "1")
        argv = [
            sys.executable, "-m", "images", "bake", f"--out={disk}",
            f"--preload={REFERENCE}", f"--mirror=registry.demo=http://{registry}",
        ]  # fmt: skip
        return (await asyncio.to_thread(subprocess.run, argv, cwd=tree.HERE, check=False)).returncode


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1])))
