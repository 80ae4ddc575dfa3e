"""What cells are told of registries."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from controller.clouds.settings import Proxy, Registry
from controller.fleet.registry_facts import facts, proxies
from tests.support.authorities import FileAuthority


def test_cells_are_told_the_certificates_themselves(tmp_path: Path) -> None:
    mine = FileAuthority(tmp_path)
    certificate, key = mine.sign("cell")
    (known,) = facts([Registry(host="r.test", mirrors=("http://m",), ca=mine.ca, certificate=certificate, key=key)])
    assert known.message == wire.Registry(
        host="r.test",
        mirrors=["http://m"],
        ca=mine.ca.read_text(),
        certificate=certificate.read_text(),
        key=key.read_text(),
    )
    assert "PRIVATE" not in repr(known)


def test_files_that_are_no_certificates_are_told_at_the_start(tmp_path: Path) -> None:
    certificate, key = FileAuthority(tmp_path).sign("cell")
    odd = tmp_path / "odd"
    odd.write_text("nothing of the kind")
    for settings in (
        Registry(host="r.test", ca=odd),
        Registry(host="r.test", ca=tmp_path / "absent"),
        Registry(host="r.test", certificate=certificate, key=odd),
        Registry(host="r.test", certificate=certificate),
        Registry(host="r.test", key=key),
    ):
        with pytest.raises(Fault, match=r"registries of r\.test") as caught:
            facts([settings])
        assert caught.value.kind is Kind.INVALID
    with pytest.raises(Fault, match=r"proxy proxy\.https"):
        proxies(Proxy(https="socks5://p"))
