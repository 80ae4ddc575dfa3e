"""Two runs of the tests on one machine do not fail each other."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from _pytest import pathlib


def test_a_folder_of_an_older_run_that_another_run_removes_meanwhile_is_left_to_it(tmp_path: Path) -> None:
    filled_again = OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
    assert not pathlib.on_rm_rf_error(os.rmdir, str(tmp_path / "garbage-1"), filled_again, start_path=tmp_path)
