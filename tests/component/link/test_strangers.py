"""Strangers at the port, beside cells that are at home: floods are cut, silent ones make room, no cell notices."""

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cellagent.boot.identity import CellIdentity
from cellagent.boot.join import SERVER_NAME, client_context, join, renew
from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc import door, guests, handshakes, limits
from cellwire.rpc.call import call
from cellwire.rpc.reverse import AUTHORITY, CALLS, TURNED, calling
from controller.link import port
from controller.link.port import ChangeKind, Link
from controller.model.cell import CellState
from controller.model.names import CellName, InstanceId
from controller.sandboxes import carried
from tests.component.link.conftest import Site, at_home, until
from tests.support.cri_double import CellDouble
from tests.support.stranger import FLOODS, Flood, context, flood, silent, write_slowly

# Far more than the kernel keeps for both ends.
ENDLESS = 256 << 20


async def beats_on(site: Site) -> None:
    """A cell's words go on coming."""
    heard = len(site.changes)
    await until(lambda: len(site.changes) > heard + 2)


@pytest.mark.parametrize("what", FLOODS, ids=lambda what: what.__name__)
async def test_a_flood_is_cut_and_cells_are_heard_meanwhile(site: Site, what: Flood) -> None:
    async with site.open() as link, site.cell(link, "i-1"):
        await until(link.connected)
        async with asyncio.TaskGroup() as tasks:
            floods = [tasks.create_task(flood("127.0.0.1", link.port, what, ENDLESS, 50)) for _ in range(3)]
            await beats_on(site)
        assert max(each.result() for each in floods) < ENDLESS
        assert {change.kind for change in site.changes} == {ChangeKind.CONNECTED, ChangeKind.REPORTED}


async def test_silent_connections_make_room_for_an_instance_that_joins(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(port, "PLACES", guests.Places(total=10, address=10))
    async with site.open() as link:
        for tls in (False, True):
            async with silent("127.0.0.1", link.port, 30, tls=tls):
                identity, metadata = await site.boot(link, f"i-{tls}")
                assert (await join(identity, metadata)).cell == f"c-i-{tls}"


async def test_a_cell_comes_home_while_strangers_have_all_places_and_turns(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "SILENT_SECONDS", 60.0)
    monkeypatch.setattr(handshakes, "TURN_SECONDS", 60.0)
    monkeypatch.setattr(port, "PLACES", guests.Places(total=20, address=20))
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        home = await join(identity, metadata)
        async with silent("127.0.0.1", link.port, 30, tls=False):
            # From now on its address is known: before, it would have been one of them.
            site.fleet.addresses.add("127.0.0.1")
            async with at_home(identity, home):
                await until(link.connected)


@pytest.mark.parametrize("familiar", [True, False])
async def test_the_fleet_is_told_when_one_from_a_cells_address_is_sent_away_since_too_many_dial(
    site: Site, monkeypatch: pytest.MonkeyPatch, familiar: bool
) -> None:
    monkeypatch.setattr(handshakes, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(handshakes, "CELLS_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(handshakes, "LOOK_SECONDS", 0.0)
    async with site.open() as link:
        if familiar:
            site.fleet.addresses.add("127.0.0.1")
        _, writer = await asyncio.open_connection("127.0.0.1", link.port)
        reader, other = await asyncio.open_connection("127.0.0.1", link.port)
        assert await reader.read() == b"", "it was sent away"
        assert bool(site.fleet.crowds) is familiar
        writer.close()
        other.close()


@pytest.mark.parametrize(("places", "crowded"), [((1, 10), True), ((10, 1), False)], ids=["in all", "of its address"])
async def test_the_fleet_is_told_when_a_cells_address_finds_no_place_among_all_but_not_for_having_taken_its_own(
    site: Site, monkeypatch: pytest.MonkeyPatch, places: tuple[int, int], crowded: bool
) -> None:
    monkeypatch.setattr(guests, "SILENT_SECONDS", 60.0)
    monkeypatch.setattr(port, "PLACES", guests.Places(familiar=places[0], address=places[1]))
    async with site.open() as link:
        site.fleet.addresses.add("127.0.0.1")
        _, writer = await asyncio.open_connection("127.0.0.1", link.port)
        reader, other = await asyncio.open_connection("127.0.0.1", link.port)
        assert await reader.read() == b"", "it was sent away"
        assert bool(site.fleet.crowds) is crowded
        writer.close()
        other.close()


async def test_a_cell_renews_while_its_address_has_no_place_left(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "PLACES", guests.Places(total=10, address=10))
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        home = await join(identity, metadata)
        async with silent("127.0.0.1", link.port, 9, tls=True):
            assert (await renew(identity, home)).renew_at >= home.renew_at


@asynccontextmanager
async def idle(link: Link, identity: CellIdentity, count: int) -> AsyncGenerator[None]:
    """Connections for short calls, with a cell's certificate, on which nothing is asked."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            context = client_context(identity, CALLS)
            _, writer = await asyncio.open_connection("127.0.0.1", link.port, ssl=context, server_hostname=SERVER_NAME)
            stack.callback(writer.close)
        yield


async def test_no_cell_keeps_another_from_renewing_however_often_it_dials(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guests, "SILENT_SECONDS", 0.0)
    monkeypatch.setattr(port, "PLACES", guests.Places(total=12, address=12))
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        home = await join(identity, metadata)
        hostile, its_metadata = await site.boot(link, "i-2")
        await join(hostile, its_metadata)
        for _ in range(3):
            async with idle(link, hostile, 24):
                assert (await renew(identity, home)).renew_at >= home.renew_at


async def test_a_cell_that_dials_without_end_is_let_in_some_times_and_another_comes_home(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "CELL_BURST", 5.0)
    monkeypatch.setattr(door, "CELL_RATE", 0.001)
    async with site.open() as link:
        hostile, metadata = await site.boot(link, "i-2")
        await join(hostile, metadata)
        site.fleet.addresses.add("127.0.0.7")
        let_in = 0
        for _ in range(50):
            try:
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", link.port, ssl=client_context(hostile, TURNED), server_hostname=SERVER_NAME,
                    local_addr=("127.0.0.7", 0),
                )  # fmt: skip
            except OSError:
                continue
            let_in += 1
            writer.close()
        assert let_in == 5
        site.fleet.addresses.add("127.0.0.1")
        async with site.cell(link, "i-1"):
            await until(lambda: CellName("c-i-1") in link.connected())


async def shaken(link: Link) -> bool:
    """A stranger's TLS handshake that nothing follows; whether there was one."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", link.port, ssl=context(AUTHORITY))
    except OSError:
        return False
    writer.transport.abort()
    return True


async def test_who_only_shakes_hands_is_let_in_few_times_and_a_cell_at_its_address_comes_home_all_the_same(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        port, "PLACES", guests.Places(burst=20, rate=1000, vain_burst=20, vain_rate=0.001, proven_rate=20)
    )
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        home = await join(identity, metadata)
        known = 2  # the two dials of the join: nobody has shown a certificate yet
        assert sum([await shaken(link) for _ in range(40)]) == 20 - known

    # A day later, as it were: cells have shown themselves at this address.
    async with site.open() as link:
        async with at_home(identity, home):
            await until(link.connected)
        async with asyncio.TaskGroup() as tasks:

            async def stranger() -> None:
                while True:
                    await shaken(link)

            dialling = tasks.create_task(stranger())
            for _ in range(3):
                await until(lambda: not link.connected())
                async with at_home(identity, home):
                    await until(link.connected)
            dialling.cancel()


async def test_who_has_hung_up_before_its_turn_costs_no_handshake(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "STRANGERS_AT_ONCE", 1)
    monkeypatch.setattr(handshakes, "TURN_SECONDS", 60.0)
    begun: list[guests.Guest] = []
    shake = door.ListeningSocket._shake

    async def noted(self: door.ListeningSocket, guest: guests.Guest, shown: ssl.SSLContext) -> None:
        begun.append(guest)
        await shake(self, guest, shown)

    monkeypatch.setattr(door.ListeningSocket, "_shake", noted)
    async with site.open() as link:
        _, first = await asyncio.open_connection("127.0.0.1", link.port)
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", link.port)
            writer.write(b"hello")
            await writer.drain()
            writer.close()
        last = asyncio.open_connection("127.0.0.1", link.port, ssl=context(AUTHORITY), server_hostname=SERVER_NAME)
        async with asyncio.TaskGroup() as tasks:
            dialling = tasks.create_task(last)
            await asyncio.sleep(0)
            first.close()
        dialling.result()[1].close()
        assert len(begun) == 2


async def test_a_handshake_that_drips_is_cut(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.5)
    async with site.open() as link:
        assert await write_slowly("127.0.0.1", link.port) < 30


async def renewal(link: Link, identity: CellIdentity, request: bytes) -> Fault:
    message = wire.RenewRequest(signing_request=request)
    async with calling("127.0.0.1", link.port, client_context(identity, CALLS), SERVER_NAME) as channel:
        with pytest.raises(Fault) as raised:
            await call(cell_grpc.EnrolmentStub(channel).Renew, message, deadline=5)
    assert raised.value.kind is Kind.DENIED
    return raised.value


async def test_a_cell_that_is_over_gets_no_further_certificate(site: Site) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        await join(identity, metadata)
        request = await identity.signing_request()
        site.fleet.put("i-1", CellState.RETIRING)
        assert (await renewal(link, identity, request)).reason == "CellOver"
        del site.fleet.cells[InstanceId("i-1")]
        assert (await renewal(link, identity, request)).reason == "UnknownCell"


async def test_a_certificate_is_renewed_for_its_own_key_only(site: Site) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        await join(identity, metadata)
        other = CellIdentity(site.folder / "other")
        fault = await renewal(link, identity, await other.signing_request())
        assert fault.reason == "AnotherKey"
        assert link.refused == {"AnotherKey": 1}


async def test_the_longest_answer_depends_on_the_method(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def answers(cell: CellDouble, request: wire.ReadFileRequest) -> wire.ReadFileReply:
        del cell
        return wire.ReadFileReply(data=bytes(request.limit))

    monkeypatch.setattr(CellDouble, "read_file", answers)
    async with site.open() as link, site.cell(link, "i-1"):
        await until(link.connected)
        stub = cell_grpc.CellStub(link.channel(CellName("c-i-1")))
        longest = limits.LONGEST["/chinampa.cell.v1.Cell/ReadFile"]
        with pytest.raises(Fault, match="above the limit"):
            await call(stub.ReadFile, wire.ReadFileRequest(limit=longest + 1), deadline=20)
        assert (await call(stub.ReadFile, wire.ReadFileRequest(limit=5), deadline=20)).data == bytes(5)


async def test_a_record_as_long_as_a_cell_may_carry_is_read_back(site: Site, tmp_path: Path) -> None:
    (tmp_path / "record").write_bytes(b"x" * (carried.LARGEST + 1))
    async with site.open() as link, site.cell(link, "i-1"):
        await until(link.connected)
        stub = cell_grpc.CellStub(link.channel(CellName("c-i-1")))
        asked = wire.ReadFileRequest(path=str(tmp_path / "record"), limit=carried.LARGEST)
        assert len((await call(stub.ReadFile, asked, deadline=20)).data) == carried.LARGEST
