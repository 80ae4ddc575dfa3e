"""A newcomer whose connection is cut while it asks for the authority tries again; another's authority is final."""

import asyncio
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from cellwire.rpc import pinned
from cellwire.rpc.reverse import AUTHORITY
from controller.link.authority import Authority


async def told(folder: Path, wanted: str, share: float) -> bytes:
    """What is believed of a port that tells so much of its authority, and ends the connection."""
    own = Authority(folder, ("127.0.0.1",))

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(own.pem[: int(len(own.pem) * share)])
        writer.close()

    server = await asyncio.start_server(tell, "127.0.0.1", 0, ssl=own.server_context((AUTHORITY,)))
    async with server:
        port = server.sockets[0].getsockname()[1]
        return await pinned.authority(f"127.0.0.1:{port}", wanted or own.fingerprint, "the user-data")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
async def test_an_authority_that_did_not_come_whole_is_asked_for_again(tmp_path: Path, share: float) -> None:
    with pytest.raises(Fault) as raised:
        await told(tmp_path, "", share)
    assert raised.value.kind is Kind.UNAVAILABLE


async def test_a_whole_authority_is_believed_or_refused_for_good(tmp_path: Path) -> None:
    assert b"BEGIN CERTIFICATE" in await told(tmp_path, "", 1.0)
    with pytest.raises(Fault) as raised:
        await told(tmp_path, "sha256:" + "0" * 64, 1.0)
    assert raised.value.kind is Kind.DENIED
