"""What is asked of an NFS server, and what is said of one that cannot be reached."""

from __future__ import annotations

import asyncio

import pytest

from cellagent.runtime.file_servers import FileServers, attempts, options, source
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind


def test_versions_are_tried_from_the_newest_unless_one_is_asked_for() -> None:
    assert [one[0] for one in attempts(("hard",))] == ["vers=4.2", "vers=4.1", "vers=4.0"]
    assert attempts(("nfsvers=4.1", "hard")) == [("nfsvers=4.1", "hard")]


def test_options_may_be_lists_and_nothing_but_what_nfs_knows() -> None:
    assert options(["nfsvers=4.1,hard", " timeo=600"], "x") == ("nfsvers=4.1", "hard", "timeo=600")
    for wrong in ("addr=1.2.3.4", "bind", "remount", "rw", "a b", "-x", "vers=4.1;x"):
        with pytest.raises(Fault, match="cannot be given") as caught:
            options([wrong], "x")
        assert caught.value.kind is Kind.INVALID


def test_an_address_of_ipv6_is_in_brackets() -> None:
    assert (source("fs-1.efs.test", "/a"), source("fd00::1", "/")) == ("fs-1.efs.test:/a", "[fd00::1]:/")


@pytest.mark.parametrize("server", ["127.0.0.1", "no-such-name.invalid"])
async def test_a_server_that_is_not_there_is_named_with_its_folder(
    server: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("volumes") / "v"
    asked = wire.MountFolderRequest(target=str(folder), server=server, path="/shared", options=["port=1"])
    with pytest.raises(Fault) as caught:
        async with asyncio.timeout(30):
            await FileServers().mount(asked)
    assert (caught.value.kind, caught.value.thing) == (Kind.UNAVAILABLE, f"NFS server {server}, folder /shared")
    assert "TCP port 1" in caught.value.mend
    assert not folder.exists(), "nothing is left where nothing was mounted"
