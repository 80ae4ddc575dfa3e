"""The same commands of kubectl for a real API server and for ours: same exit codes, same shapes, but for a list.

Runs where KUBE_BIN names a folder with the Kubernetes binaries, and says loudly when it does not.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.cluster import binaries
from tests.support.side_by_side import COMMANDS, differences, shape

PROGRAMS = binaries()
# Command → why its answer differs; docs/kubectl.md tells people.
KNOWN = {
    "get pods -o wide --no-headers=false": "the column USD",
    "top nodes": "an API server alone has no metrics",
}


@pytest.mark.skipif(PROGRAMS is None or shutil.which("etcd") is None, reason="KUBE_BIN names no Kubernetes binaries")
@pytest.mark.timeout(600)
async def test_kubectl_is_answered_as_an_api_server_answers_it(tmp_path: Path) -> None:
    assert PROGRAMS is not None
    assert len(COMMANDS) >= 60
    found = await differences(PROGRAMS, tmp_path)
    unknown = {command: pair for command, pair in found.items() if command.partition(": ")[2] not in KNOWN}
    assert not unknown, unknown


def test_a_shape_keeps_what_matters_and_nothing_else() -> None:
    table = "NAME   READY\nweb-5d   1/1\n"
    assert shape(0, table, "") == ("NAME READY",)
    assert shape(0, "pod/p created", "") == ("pod/p created",)
    assert shape(1, "", 'Error from server (NotFound): pods "x" not found') == ("Error from server (NotFound)",)
    assert shape(0, '{"kind": "Pod", "spec": {}}', "") == ("kind", "spec")
