"""There is one way to a cell: no other file makes a call on one, so none reads an answer that was not checked."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3] / "controller"
# Beside it, each with checks of its own: the copy of logs, and what a cell reports of itself.
ALLOWED = {"sandboxes/cell_client.py", "logs/mirror.py", "link/port.py"}
# The worker's own agent is no cell.
OWN_AGENT = {"shim/front.py", "cli/worker_command.py"}


def test_calls_on_cells_are_made_in_one_file_behind_the_gate() -> None:
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if any(f"{name}Stub(" in path.read_text() for name in ("RuntimeService", "ImageService", "Cell"))
    }
    assert found == ALLOWED | OWN_AGENT
