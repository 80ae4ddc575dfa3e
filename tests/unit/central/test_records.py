"""A worker's token is good once, for a while, for the key that shows it first; and who is revoked is nobody."""

import msgspec
import pytest

from cellwire.faults import Fault, Kind
from controller.central import worker_records
from controller.central.worker_records import WorkerRecord
from controller.model.cell import Cell, CellState
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef

NOW = 1_795_000_000.0
TOKEN = worker_records.token_of("ip-10-0-0-1.ec2.internal", "secret")
ISSUED = worker_records.issued(None, "ip-10-0-0-1.ec2.internal", TOKEN, NOW, NOW + 3600)
CLAIM = PodClaim(
    pod=PodRef(uid=PodUid("u"), namespace="default", name="web"),
    demand=Demand(cpu_millis=100, memory_mib=64),
    by="shim",
)


def test_a_token_names_its_worker() -> None:
    assert worker_records.named_by(TOKEN) == "ip-10-0-0-1.ec2.internal"
    assert worker_records.named_by("chinampa.all.secret") == worker_records.named_by("") == ""
    assert TOKEN not in str(ISSUED)


def test_who_joins_may_ask_again_and_another_may_not() -> None:
    joined = worker_records.joined(ISSUED, TOKEN, "key", NOW + 1)
    worker_records.check_caller(joined, joined.name, "key")
    assert worker_records.joined(joined, TOKEN, "key", NOW + 2) == joined
    with pytest.raises(Fault) as told:
        worker_records.joined(joined, TOKEN, "other", NOW + 2)
    assert told.value.reason == "UsedToken"


@pytest.mark.parametrize(
    ("record", "token", "now", "reason"),
    [
        (None, TOKEN, NOW, "WrongToken"),
        (ISSUED, worker_records.token_of(ISSUED.name, "guessed"), NOW, "WrongToken"),
        (WorkerRecord(name=ISSUED.name, created_at=NOW), "", NOW, "WrongToken"),
        (ISSUED, TOKEN, NOW + 3600, "ExpiredToken"),
    ],
)
def test_all_others_are_denied_with_a_reason(record: WorkerRecord | None, token: str, now: float, reason: str) -> None:
    with pytest.raises(Fault) as told:
        worker_records.joined(record, token, "key", now)
    assert (told.value.kind, told.value.reason) == (Kind.DENIED, reason)


def test_a_new_token_ends_nobody_before_it_is_used() -> None:
    before = worker_records.joined(ISSUED, TOKEN, "old", NOW + 1)
    again = worker_records.issued(before, before.name, "worker.n.new", NOW + 2, NOW + 9)
    worker_records.check_caller(again, again.name, "old")
    after = worker_records.joined(again, "worker.n.new", "new", NOW + 3)
    worker_records.check_caller(after, after.name, "new")
    with pytest.raises(Fault) as told:
        worker_records.check_caller(after, after.name, "old")
    assert told.value.reason == "AnotherKey"
    with pytest.raises(Fault) as told:
        worker_records.check_caller(None, after.name, "new")
    assert told.value.reason == "RevokedWorker"


@pytest.mark.parametrize("name", ["", "Node", "a b", "a@b", "-a", "a..b", "x" * 57, "worker:a"])
def test_what_is_no_name_of_a_node_is_refused(name: str) -> None:
    with pytest.raises(Fault) as told:
        worker_records.check_name(name)
    assert told.value.kind is Kind.INVALID


def test_a_worker_claims_as_itself_whatever_it_says() -> None:
    told = msgspec.msgpack.encode(CLAIM)
    ours = worker_records.claim_of(told, "node-1")
    assert (ours.by, ours.worker) == ("shim@node-1", "node-1")
    cell = Cell(name=CellName("c-1"), state=CellState.CLAIMED, demand=ours.demand, claim=ours, join_token_hash="h")
    assert worker_records.is_of(cell, "node-1")
    assert not worker_records.is_of(cell, "node")
    seen = msgspec.msgpack.decode(worker_records.as_seen(cell), type=Cell)
    assert seen.claim == CLAIM
    assert not seen.join_token_hash


@pytest.mark.parametrize(
    "claim",
    [
        msgspec.structs.replace(CLAIM, by="shim@node-2"),
        msgspec.structs.replace(CLAIM, by=""),
        msgspec.structs.replace(CLAIM, pod=msgspec.structs.replace(CLAIM.pod, uid=PodUid(""))),
        msgspec.structs.replace(CLAIM, pod=msgspec.structs.replace(CLAIM.pod, name="x" * 254)),
        msgspec.structs.replace(CLAIM, demand=Demand(cpu_millis=-1, memory_mib=64)),
    ],
)
def test_a_claim_that_is_none_is_refused(claim: PodClaim) -> None:
    with pytest.raises(Fault) as told:
        worker_records.claim_of(msgspec.msgpack.encode(claim), "node-1")
    assert told.value.kind is Kind.INVALID


def test_bytes_that_are_no_claim_are_refused() -> None:
    for told in (b"", b"\xc1", msgspec.msgpack.encode({"pod": 1})):
        with pytest.raises(Fault) as refused:
            worker_records.claim_of(told, "node-1")
        assert refused.value.kind is Kind.INVALID
