"""The agent of instances is compiled before they start, since they cannot write it down themselves."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from controller.clouds.local.machines import compile_agent


def checkout(folder: Path) -> Path:
    module = folder / "cellagent/runtime/room.py"
    module.parent.mkdir(parents=True)
    module.write_text("X = 1\n")
    (folder / "cellagent/broken.py").write_text("def (\n")
    return module


def compiled(module: Path) -> list[Path]:
    return [*module.parent.glob(f"__pycache__/{module.stem}.*.pyc")]


def test_every_module_is_compiled_and_one_that_cannot_be_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    module = checkout(tmp_path)
    compile_agent([str(tmp_path / "absent"), str(tmp_path)])
    assert compiled(module)


def test_who_wants_no_bytecode_gets_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = checkout(tmp_path)
    compile_agent([str(tmp_path)])
    assert not compiled(module)
