"""Removes every trace of this clone's demonstration, whether its controller lives or not."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.sweep import sweep
from examples.site import Site

if __name__ == "__main__":
    here = Site(Path(__file__).resolve().parent.parent)
    asyncio.run(sweep(LocalSettings(cluster=here.cluster, root=here.folder / "cloud", bridge=here.bridge)))
