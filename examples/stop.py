"""Stops a demonstration that was left running with KEEP=1."""

from __future__ import annotations

import shutil

from examples.asking import FOLDER
from examples.demo import stop_former

if __name__ == "__main__":
    stop_former()
    shutil.rmtree(FOLDER, ignore_errors=True)
