"""From user-data to a signing request, without a controller."""

import asyncio
import gzip
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from cellagent.boot import identity, join
from cellagent.boot.identity import CellIdentity, Home
from cellagent.boot.metadata_client import Metadata
from cellwire.faults import Fault, Kind
from controller.clouds.userdata import UserData, compress, render

FACTS = UserData(controllers=("10.0.0.1:7443", "[fd00::1]:7443"), ca="sha256:" + "a" * 64, token="t0ken")


def test_what_the_controller_writes_the_agent_reads() -> None:
    text = render(FACTS)
    for data in (text.encode(), compress(text)):
        found = join.facts_of(data)
        assert (found.controllers, found.ca, found.token) == (FACTS.controllers, FACTS.ca, FACTS.token)


@given(st.binary(max_size=200))
def test_no_user_data_breaks_the_reader(data: bytes) -> None:
    for one in (data, b"\x1f\x8b" + data, b"#chinampa " + data):
        with pytest.raises(Fault) as told:
            join.facts_of(one)
        assert told.value.kind is Kind.INVALID


def test_user_data_that_unpacks_without_end_is_refused() -> None:
    with pytest.raises(Fault, match="unpack"):
        join.facts_of(gzip.compress(bytes(64 << 20)))


@pytest.mark.parametrize(
    ("text", "expected"), [("10.0.0.1:7443", ("10.0.0.1", 7443)), ("[fd00::1]:1", ("fd00::1", 1)), ("h:2", ("h", 2))]
)
def test_an_address_has_a_host_and_a_port(text: str, expected: tuple[str, int]) -> None:
    assert join.endpoint(text) == expected


@pytest.mark.parametrize("text", ["", "host", ":1", "host:", "host:x"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(Fault):
        join.endpoint(text)


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_pauses_are_short_at_first_and_never_long(tries: int, chance: float) -> None:
    assert 0.05 <= join.pause(tries, chance=lambda: chance) <= 30.05
    assert join.pause(0, chance=lambda: chance) <= 0.25


@pytest.mark.parametrize("program", ["openssl", "our own"])
async def test_a_key_is_made_once_and_its_request_is_signed(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if program == "our own":

        async def none(key: Path, *, fresh: bool) -> None:
            return None

        monkeypatch.setattr(identity, "_openssl", none)
    mine = CellIdentity(tmp_path / "state")
    first, second = await mine.signing_request(), await mine.signing_request()
    assert stat.S_IMODE(mine.key.stat().st_mode) == 0o600
    asked = [x509.load_pem_x509_csr(pem) for pem in (first, second)]
    assert all(one.is_signature_valid for one in asked)
    assert asked[0].public_key() == asked[1].public_key()
    key = asked[0].public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp256r1"


async def test_a_key_half_written_by_a_killed_agent_is_made_anew(tmp_path: Path) -> None:
    mine = CellIdentity(tmp_path / "state")
    mine.key.with_name("cell.key.new").write_bytes(b"-----BEGIN PRI")
    assert x509.load_pem_x509_csr(await mine.signing_request()).is_signature_valid


def test_an_identity_is_there_once_it_is_whole(tmp_path: Path) -> None:
    mine = CellIdentity(tmp_path / "state")
    assert mine.home() is None
    home = Home(cell="c-1", controllers=("h:1",), renew_at=1.0, settings=b"")
    mine.keep(home, b"certificate")
    assert CellIdentity(tmp_path / "state").home() == home


def test_the_agent_loads_no_cryptography_and_no_http_library() -> None:
    code = (
        "import sys; import cellagent.link.home, cellagent.link.heartbeat, cellagent.boot.join;"
        "print([name for name in ('cryptography', 'aiohttp', 'msgpack', 'structlog') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env={
        "PYTHONPATH": ":".join(sys.path)
    }).stdout.strip() == b"[]"  # fmt: skip


@asynccontextmanager
async def service(answer: Callable[[bytes], bytes]) -> AsyncGenerator[Metadata]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(request))
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Metadata("127.0.0.1", server.sockets[0].getsockname()[1])


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


async def test_metadata_needs_a_token_that_is_asked_for_once() -> None:
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        seen.append(request.split(b" ", 1)[0])
        if request.startswith(b"PUT /latest/api/token"):
            return ok(b"TOKEN")
        assert b"X-aws-ec2-metadata-token: TOKEN\r\n" in request
        return ok(b"i-1")

    async with service(answer) as metadata:
        assert await metadata.get("meta-data/instance-id") == b"i-1"
        assert await metadata.get("meta-data/instance-id") == b"i-1"
    assert seen == [b"PUT", b"GET", b"GET"]


async def test_a_token_of_metadata_that_is_over_is_replaced() -> None:
    good = [b"ONE"]

    def answer(request: bytes) -> bytes:
        if request.startswith(b"PUT /latest/api/token"):
            return ok(good[0])
        known = b"X-aws-ec2-metadata-token: %s\r\n" % good[0] in request
        return ok(b"i-1") if known else b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"

    async with service(answer) as metadata:
        assert await metadata.get("meta-data/instance-id") == b"i-1"
        good[0] = b"TWO"
        assert await metadata.get("meta-data/instance-id") == b"i-1"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", Kind.UNAVAILABLE),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", Kind.NOT_FOUND),
        (b"HTTP/1.1 503 Slow Down\r\n\r\n", Kind.UNAVAILABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", Kind.UNAVAILABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", Kind.UNAVAILABLE),
        (b"rubbish", Kind.UNAVAILABLE),
        (b"", Kind.UNAVAILABLE),
    ],
)
async def test_metadata_that_fails_is_a_fault(answer: bytes, kind: Kind) -> None:
    async with service(lambda request: answer) as metadata:
        with pytest.raises(Fault) as told:
            await metadata.get("user-data")
    assert told.value.kind is kind


async def test_no_metadata_service_is_unavailable() -> None:
    with pytest.raises(Fault) as told:
        await Metadata("127.0.0.1", 1).get("user-data")
    assert told.value.kind is Kind.UNAVAILABLE


async def run(work: Awaitable[object]) -> object:
    return await work


async def test_a_join_without_metadata_is_one_fault_and_not_a_group(tmp_path: Path) -> None:
    with pytest.raises(Fault) as told:
        await run(join.join(CellIdentity(tmp_path / "state"), Metadata("127.0.0.1", 1)))
    assert told.value.kind is Kind.UNAVAILABLE
