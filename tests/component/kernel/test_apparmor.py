"""The agent's own AppArmor profile is loaded where the kernel confines. The kernel and the parser are told apart here:
a folder in place of /sys, and a program that writes down what it is given.
"""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from cellagent.kernel import apparmor
from hostkit import programs

BEFORE = "cri-containerd.apparmor.d (enforce)\na name (with blanks) (complain)\n"
PARSER = """#!/bin/sh
[ "$*" = "--replace --skip-cache" ] || exit 2
cat >{folder}/given
echo "chinampa-default (enforce)" >>{folder}/kernel/security/apparmor/profiles
"""


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """A kernel that confines."""
    (tmp_path / "module/apparmor/parameters").mkdir(parents=True)
    (tmp_path / "module/apparmor/parameters/enabled").write_text("Y\n")
    (tmp_path / "kernel/security/apparmor").mkdir(parents=True)
    (tmp_path / "kernel/security/apparmor/profiles").write_text(BEFORE)
    return tmp_path


def parser(sys: Path, text: str = PARSER) -> str:
    program = sys / "parser"
    program.write_text(text.format(folder=sys))
    program.chmod(0o755)
    return str(program)


async def test_the_profile_is_loaded_beside_those_of_others(sys: Path) -> None:
    await apparmor.load_default(sys, parser(sys))
    assert apparmor.loaded(sys) == {"cri-containerd.apparmor.d", "a name (with blanks)", apparmor.DEFAULT}
    assert f"profile {apparmor.DEFAULT} " in (sys / "given").read_text()


@pytest.mark.parametrize("state", ["N\n", None, "no security file system"])
async def test_a_kernel_that_does_not_confine_is_left_alone(sys: Path, state: str | None) -> None:
    if state == "no security file system":
        (sys / "kernel/security/apparmor/profiles").unlink()
    elif state is None:
        (sys / "module/apparmor/parameters/enabled").unlink()
    else:
        (sys / "module/apparmor/parameters/enabled").write_text(state)
    await apparmor.load_default(sys, parser(sys))
    assert apparmor.loaded(sys) is None
    assert not (sys / "given").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "it is not installed"), ("#!/bin/sh\ncat >/dev/null; echo 'syntax error' >&2; exit 1\n", "syntax error")],
)
async def test_why_it_could_not_be_loaded_is_told(
    sys: Path, caplog: pytest.LogCaptureFixture, text: str, words: str
) -> None:
    with caplog.at_level(logging.WARNING):
        await apparmor.load_default(sys, parser(sys, text) if text else str(sys / "nowhere"))
    assert "chinampa-default is not there, and RuntimeDefault is no profile" in caplog.text
    assert words in caplog.text
    assert apparmor.loaded(sys) == apparmor.names(BEFORE)


@pytest.mark.skipif(shutil.which("apparmor_parser", path=programs.SEARCH_PATH) is None, reason="no apparmor_parser")
async def test_the_profile_is_one() -> None:
    asked = ["apparmor_parser", "--skip-kernel-load", "--skip-cache", "--names"]
    assert await programs.check(asked, stdin=apparmor.TEXT.read_bytes()) == b"chinampa-default\n"
