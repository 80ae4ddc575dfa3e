"""The agent's bundle, which an instance of a stock image fetches from the port that it will dial."""

from __future__ import annotations

import asyncio
import hashlib
import os
import ssl
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from cellwire.rpc import giving
from controller.clouds.userdata import LIMIT_BYTES, UserData, parse, render
from controller.link import port
from controller.link.join_checks import Admission
from controller.link.port import Link, LinkSettings
from controller.model.instance import Identity

BUNDLE = os.urandom(3 << 20)


def nobody() -> Admission:
    raise Fault(Kind.UNAVAILABLE, "join", "nobody joins here")


def unknown(document: bytes, signature: bytes) -> Identity:
    raise AssertionError("nobody joins here")


def settings(folder: Path) -> LinkSettings:
    bundle = folder / "agent.tar.gz"
    bundle.write_bytes(BUNDLE)
    return LinkSettings(folder / "link", "127.0.0.1", 0, ("127.0.0.1",), {"amd64": bundle})


async def asked(
    link: Link, architecture: str, local: tuple[str, int] | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The connection of a stranger who trusts nobody, as the user-data does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([giving.protocol_of(architecture)])
    return await asyncio.open_connection("127.0.0.1", link.port, ssl=context, local_addr=local)


async def first(link: Link) -> bytes:
    """The first octets of what a stranger gets."""
    reader, writer = await asked(link, "amd64")
    try:
        return await reader.read(1)
    finally:
        writer.transport.abort()


async def fetched(link: Link, architecture: str) -> bytes:
    """All that a stranger gets."""
    reader, writer = await asked(link, architecture)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_a_stranger_gets_the_bundle_whose_hash_the_user_data_names(tmp_path: Path) -> None:
    async with port.running(settings(tmp_path), nobody, unknown) as link:
        said = UserData(
            controllers=link.controllers, ca=link.authority.fingerprint, token="t", agents=dict(link.agents)
        )
        text = render(said)
        assert len(text) < LIMIT_BYTES
        assert parse(text) == said
        got = await fetched(link, "amd64")
        assert got == BUNDLE
        assert said.agents == {"amd64": hashlib.sha256(got).hexdigest()}


async def test_of_an_architecture_without_a_bundle_nothing_is_given(tmp_path: Path) -> None:
    async with port.running(settings(tmp_path), nobody, unknown) as link:
        assert await fetched(link, "arm64") == b""


async def test_who_asks_beyond_the_number_that_is_served_at_once_gets_nothing_and_disturbs_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(giving, "AT_ONCE", 0)
    async with port.running(settings(tmp_path), nobody, unknown) as link:
        assert await fetched(link, "amd64") == b""
        monkeypatch.setattr(giving, "AT_ONCE", 1)
        assert await fetched(link, "amd64") == BUNDLE


async def test_one_address_leaves_places_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving, "AT_ONCE_EACH", 2)
    here = settings(tmp_path)
    here.agents["amd64"].write_bytes(bytes(32 << 20))  # more than the kernel keeps for both ends
    async with port.running(here, nobody, unknown) as link:
        served = [await asked(link, "amd64") for _ in range(2)]
        for reader, _ in served:
            assert await reader.readexactly(1)
        assert await fetched(link, "amd64") == b""
        served.append(await asked(link, "amd64", ("127.0.0.2", 0)))
        assert await served[-1][0].readexactly(1)
        for _, writer in served:
            writer.transport.abort()


async def test_who_does_not_read_gives_its_place_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(giving, "AT_ONCE", 1)
    monkeypatch.setattr(giving, "PACE_SECONDS", 0.2)
    here = settings(tmp_path)
    here.agents["amd64"].write_bytes(bytes(32 << 20))
    async with port.running(here, nobody, unknown) as link:
        _, writer = await asked(link, "amd64")
        got = b""
        async with asyncio.timeout(60):
            while not got:
                got = await first(link)
        writer.transport.abort()


async def test_a_bundle_that_is_not_there_keeps_the_port_from_opening_and_names_the_setting(tmp_path: Path) -> None:
    wrong = LinkSettings(tmp_path, "127.0.0.1", 0, (), {"arm64": tmp_path / "none"})
    with pytest.raises((Fault, ExceptionGroup)) as told:
        async with port.running(wrong, nobody, unknown):
            pass
    assert "link.agent_arm64" in repr(told.value.args) + str(told.value)
