"""Who may join, and who is refused: TLS on loopback, signed documents, a real metadata service."""

import asyncio
import contextlib
import datetime
import ssl
import stat
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cellagent.boot.identity import CellIdentity
from cellagent.boot.join import SERVER_NAME, client_context, join, renew
from cellagent.boot.metadata_client import Metadata
from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call
from cellwire.rpc.reverse import CALLS, TURNED, calling, serve_on
from controller.clouds.local.identity_documents import Signer
from controller.clouds.userdata import UserData
from controller.link import report_checks
from controller.link.authority import Authority
from controller.link.join_checks import Admitted
from controller.link.port import ChangeKind
from controller.model.instance import Identity
from controller.model.names import CellName, InstanceId
from tests.component.link.conftest import Site, until
from tests.component.link.small_agent import small


async def refused(identity: CellIdentity, metadata: Metadata) -> Fault:
    with pytest.raises(Fault) as raised:
        await join(identity, metadata)
    assert raised.value.kind is Kind.DENIED
    assert not identity.certificate.exists()
    assert identity.home() is None
    return raised.value


async def test_an_instance_of_ours_joins_with_a_certificate_that_names_its_cell_and_itself(site: Site) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        home = await join(identity, metadata)
    assert home.cell == "c-i-1"
    assert home.cell_settings().pod_address == "10.5.0.9/32"
    assert home.renew_at - time.time() == pytest.approx(16 * 3600, abs=60)
    assert identity.home() == home
    certificate = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    assert certificate.subject.rfc4514_string({NameOID.SERIAL_NUMBER: "serialNumber"}) == "serialNumber=i-1,CN=c-i-1"
    life = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    assert abs(life - datetime.timedelta(hours=24)) < datetime.timedelta(minutes=1)


async def test_keys_are_readable_by_their_owner_only(site: Site) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        await join(identity, metadata)
    for folder in (identity.folder, site.folder / "link"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for file in folder.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_a_port_that_another_has_is_named_with_the_settings_that_choose_it(site: Site, tmp_path: Path) -> None:
    async with site.open() as link:
        second = Site(tmp_path / "second")
        second.number = link.port
        with pytest.raises(ExceptionGroup) as raised:
            await second.open().__aenter__()
    (fault,) = raised.value.exceptions
    assert isinstance(fault, Fault)
    assert str(link.port) in str(fault)
    assert "link.host or link.port" in str(fault)


async def test_a_wrong_token_is_refused_and_counted(site: Site) -> None:
    async with site.open() as link:
        fault = await refused(*await site.boot(link, "i-1", token="guessed"))
        assert fault.reason == "WrongToken"
        assert link.refused == {"WrongToken": 1}


async def test_an_instance_that_we_did_not_launch_is_refused(site: Site) -> None:
    async with site.open() as link:
        fault = await refused(*await site.boot(link, "i-9", known=False))
        assert fault.reason == "UnknownInstance"


async def test_an_instance_joins_once(site: Site, tmp_path: Path) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        await join(identity, metadata)
        thief = CellIdentity(tmp_path / "thief")
        fault = await refused(thief, metadata)
        assert fault.reason == "JoinedBefore"
        assert site.fleet.admitted == 1


async def test_who_lost_the_answer_on_the_way_gets_it_again(site: Site) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        first = await join(identity, metadata)
        again = await join(identity, metadata)
        assert again.cell == first.cell
    async with site.open():
        assert (await join(identity, metadata)).cell == first.cell
        assert site.fleet.admitted == 1


async def test_who_gave_up_while_its_join_was_written_down_gets_its_answer_when_it_asks_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, admit = asyncio.Event(), site.fleet.admit

    async def slowly(token: str, key: str, identity: Identity) -> Admitted:
        admitted = await admit(token, key, identity)
        await written.wait()
        return admitted

    monkeypatch.setattr(site.fleet, "admit", slowly)
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        first = asyncio.get_running_loop().create_task(join(identity, metadata))
        await until(lambda: site.fleet.admitted == 1)
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
        asyncio.get_running_loop().call_later(0.2, written.set)
        assert (await join(identity, metadata)).cell == "c-i-1"
        assert site.fleet.admitted == 1


async def test_a_document_of_another_cloud_is_refused(site: Site) -> None:
    async with site.open() as link:
        site.fleet.launch("i-1", "t")
        other = Signer(rsa.generate_private_key(public_exponent=65537, key_size=2048))
        user_data = UserData(controllers=link.controllers, ca=link.authority.fingerprint, token="t")
        number = await site.cloud.metadata("i-1", user_data, other)
        await refused(CellIdentity(site.folder / "i-1"), Metadata("127.0.0.1", number))
        assert site.fleet.admitted == 0


async def test_a_controller_with_another_authority_is_told_nothing(site: Site, tmp_path: Path) -> None:
    async with site.open() as link:
        site.fleet.launch("i-1", "t")
        user_data = UserData(controllers=link.controllers, ca="sha256:" + "0" * 64, token="t")
        number = await site.cloud.metadata("i-1", user_data)
        fault = await refused(CellIdentity(tmp_path / "i-1"), Metadata("127.0.0.1", number))
        assert "authority" in str(fault)
        assert not (tmp_path / "i-1" / "ca.pem").exists()
        assert site.fleet.admitted == 0


async def test_the_first_controller_that_answers_is_joined(site: Site) -> None:
    async with site.open() as link:
        site.fleet.launch("i-1", "t")
        user_data = UserData(controllers=("127.0.0.1:1", *link.controllers), ca=link.authority.fingerprint, token="t")
        number = await site.cloud.metadata("i-1", user_data)
        home = await join(CellIdentity(site.folder / "i-1"), Metadata("127.0.0.1", number))
        assert home.cell == "c-i-1"


async def test_a_certificate_is_renewed_with_the_present_one(site: Site) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        home = await join(identity, metadata)
        before = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
        renewed = await renew(identity, home)
        after = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    assert renewed.renew_at >= home.renew_at
    assert after.serial_number != before.serial_number
    assert after.subject == before.subject


async def test_without_a_certificate_nothing_is_renewed(site: Site) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        await join(identity, metadata)
        identity.certificate.unlink()
        context = client_context(identity, CALLS)
        request = wire.RenewRequest(signing_request=await identity.signing_request())
        async with calling("127.0.0.1", link.port, context, SERVER_NAME) as channel:
            with pytest.raises(Fault) as raised:
                await call(cell_grpc.EnrolmentStub(channel).Renew, request, deadline=5)
        assert raised.value.kind is Kind.DENIED
        assert link.refused == {"NoCertificate": 1}


async def turned(site: Site, identity: CellIdentity, link_port: int) -> Fault | None:
    """How an attempt to be a cell ends; None where the link has heard what the cell says of itself."""
    context = client_context(identity, TURNED)

    async def attempt() -> Fault:
        try:
            await serve_on(agent.server(), "127.0.0.1", link_port, context, SERVER_NAME, lambda: None)
        except Fault as fault:
            return fault
        return Fault(Kind.DENIED, "cell", "cut off")

    async with small("?", {}) as agent, asyncio.TaskGroup() as tasks:
        attempting = tasks.create_task(attempt())
        heard = tasks.create_task(until(lambda: any(change.said is not None for change in site.changes), 280))
        await asyncio.wait((attempting, heard), return_when=asyncio.FIRST_COMPLETED)
        ended = attempting.result() if attempting.done() else None
        attempting.cancel()
        heard.cancel()
    return ended


async def joined(site: Site, link_port: int, certificate: bytes) -> Fault | None:
    identity = CellIdentity(site.folder / "i-1")
    identity.certificate.write_bytes(certificate)
    return await turned(site, identity, link_port)


async def test_only_a_valid_certificate_of_ours_opens_the_turned_connection(site: Site, tmp_path: Path) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        await join(identity, metadata)
        good = identity.certificate.read_bytes()
        request = await identity.signing_request()
        expired = link.authority.sign(request, CellName("c-i-1"), InstanceId("i-1"), datetime.timedelta(seconds=-1))
        strange = Authority(tmp_path / "other", ("127.0.0.1",)).sign(request, CellName("c-i-1"), InstanceId("i-1"))
        for certificate in (expired, strange):
            fault = await joined(site, link.port, certificate)
            assert fault is not None, "a bad certificate was taken"
            assert fault.kind is Kind.DENIED
            assert not link.connected()
        identity.certificate.unlink()
        assert await turned(site, identity, link.port) is not None
        assert not link.connected()
        assert await joined(site, link.port, good) is None
        assert site.changes[0].kind is ChangeKind.CONNECTED
        assert isinstance(site.changes[1].said, report_checks.Hello)


async def test_a_cell_cannot_pass_for_a_controller(site: Site, tmp_path: Path) -> None:
    async with site.open() as link:
        identity, metadata = await site.boot(link, "i-1")
        await join(identity, metadata)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(identity.certificate, identity.key)
        context.set_alpn_protocols([TURNED])
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0, ssl=context)
        async with server:
            fault = await turned(site, identity, server.sockets[0].getsockname()[1])
        assert fault is not None
        assert fault.kind is Kind.DENIED


def test_an_authority_whose_key_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    first = Authority(tmp_path, ("127.0.0.1",))
    assert Authority(tmp_path, ("127.0.0.2",)).fingerprint == first.fingerprint
    (tmp_path / "ca.key").unlink()
    with pytest.raises(Fault, match="restore it"):
        Authority(tmp_path, ())
