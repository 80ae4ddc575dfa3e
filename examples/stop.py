"""Stops a demonstration that was left running with KEEP=1."""

from __future__ import annotations

import shutil

from examples.demo import FOLDER, stop_former

if __name__ == "__main__":
    stop_former()
    shutil.rmtree(FOLDER, ignore_errors=True)
