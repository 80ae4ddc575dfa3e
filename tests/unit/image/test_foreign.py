"""Whether this machine can run the programs of another architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import foreign

AS_DEBIAN = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\nflags: POF\noffset 0\n"


@pytest.mark.parametrize(
    ("words", "runs"),
    [
        (AS_DEBIAN, True),
        (AS_DEBIAN.replace("enabled", "disabled"), False),
        (AS_DEBIAN.replace("POF", "P"), False),  # the emulator would be looked for within the tree
    ],
    ids=["registered", "switched off", "not held open"],
)
def test_an_emulator_counts_where_it_also_works_within_a_tree(tmp_path: Path, words: str, *, runs: bool) -> None:
    (tmp_path / "qemu-aarch64").write_text(words)
    assert foreign.runs("arm64", tmp_path) == runs
    assert not foreign.runs("amd64", tmp_path)
    assert not foreign.runs("s390x", tmp_path)
