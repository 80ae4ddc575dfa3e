"""Removes every trace of the demonstration's local cloud, whether its controller lives or not."""

from __future__ import annotations

import asyncio
from pathlib import Path

from controller.clouds.local.settings import LocalSettings
from controller.clouds.local.sweep import sweep

FOLDER = Path(__file__).resolve().parent.parent / ".demo"
SETTINGS = LocalSettings(cluster="demo", root=FOLDER / "cloud", bridge="chinampa-demo", subnet="10.211.0.0/16")

if __name__ == "__main__":
    asyncio.run(sweep(SETTINGS))
