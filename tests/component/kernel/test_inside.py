"""Parts of a folder in which somebody else changes names as fast as they can."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

from cellagent.kernel import inside
from cellagent.runtime import merging


def test_a_part_is_never_outside_however_fast_its_names_become_links(tmp_path: Path) -> None:
    root, outside, ended = tmp_path / "root", tmp_path / "outside", threading.Event()
    for one in (root, outside, root / "sub"):
        one.mkdir()
    (root / "link").symlink_to(outside)

    def change() -> None:
        while not ended.is_set():
            merging.exchange(root / "sub", root / "link")

    folder = (root / "sub").stat()
    changing = threading.Thread(target=change)
    changing.start()
    seen: set[str] = set()
    try:
        for _ in range(5000):
            with suppress(OSError):
                inside.make_part(root, "sub/made")
            try:
                descriptor = inside.part(root, "sub")
            except OSError as error:
                seen.add(error.strerror or "")
            else:
                seen.add("inside" if os.path.samestat(os.fstat(descriptor), folder) else "outside")
                os.close(descriptor)
    finally:
        ended.set()
        changing.join()
    assert seen == {"inside", os.strerror(errno.EXDEV)}
    assert not list(outside.iterdir())
