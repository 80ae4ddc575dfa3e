"""Admission, leases and heartbeat numbers: what needs no connection."""

from pathlib import Path

import msgspec
import pytest

from cellagent.link import heartbeat
from cellwire.faults import Fault, Kind
from controller.link import report_checks
from controller.link.join_checks import CLOCKS_APART, TOKEN_LIFE, check, token_hash
from controller.link.link_settings import dialled, written
from controller.model.cell import Cell, CellState
from controller.model.instance import Identity
from controller.model.names import CellName, InstanceId
from controller.model.offer import Demand

NOW = 1_795_000_000.0
IDENTITY = Identity(
    instance=InstanceId("i-1"), account="0", region="test-1", zone="test-1a", type="t", address="10.5.0.1"
)
CELL = Cell(
    name=CellName("c-1"),
    state=CellState.BOOTING,
    demand=Demand(cpu_millis=1, memory_mib=1),
    instance=InstanceId("i-1"),
    join_token_hash=token_hash("right"),
    moments={"launching": NOW - 5},
)


def test_the_instance_of_a_launch_with_its_token_may_join() -> None:
    assert check(CELL, "right", "key", IDENTITY, NOW) is CELL


@pytest.mark.parametrize(
    ("cell", "token", "now", "reason"),
    [
        (None, "right", NOW, "UnknownInstance"),
        (CELL, "wrong", NOW, "WrongToken"),
        (CELL, "", NOW, "WrongToken"),
        (msgspec.structs.replace(CELL, join_token_hash=""), "", NOW, "WrongToken"),
        (msgspec.structs.replace(CELL, state=CellState.READY), "right", NOW, "JoinedBefore"),
        (msgspec.structs.replace(CELL, state=CellState.READY, joined_key="other"), "right", NOW, "JoinedBefore"),
        (msgspec.structs.replace(CELL, state=CellState.READY, joined_key="key"), "wrong", NOW, "WrongToken"),
        (msgspec.structs.replace(CELL, state=CellState.LOST, joined_key="key"), "right", NOW, "JoinedBefore"),
        (msgspec.structs.replace(CELL, state=CellState.GONE, joined_key="key"), "right", NOW, "JoinedBefore"),
        (CELL, "right", NOW + TOKEN_LIFE, "ExpiredToken"),
    ],
)
def test_all_others_are_denied_with_a_reason(cell: Cell | None, token: str, now: float, reason: str) -> None:
    with pytest.raises(Fault) as told:
        check(cell, token, "key", IDENTITY, now)
    assert (told.value.kind, told.value.reason) == (Kind.DENIED, reason)


@pytest.mark.parametrize("state", [CellState.READY, CellState.CLAIMED])
def test_one_that_has_joined_may_ask_again_with_its_key_while_its_token_lives(state: CellState) -> None:
    joined = msgspec.structs.replace(CELL, state=state, joined_key="key")
    assert check(joined, "right", "key", IDENTITY, NOW) is joined
    with pytest.raises(Fault, match="has expired"):
        check(joined, "right", "key", IDENTITY, NOW + TOKEN_LIFE)


def test_a_token_lives_as_long_as_an_instance_may_boot() -> None:
    assert check(CELL, "right", "key", IDENTITY, NOW + TOKEN_LIFE, boot=TOKEN_LIFE + 60) is CELL
    with pytest.raises(Fault, match="has expired"):
        check(CELL, "right", "key", IDENTITY, NOW + TOKEN_LIFE + 60, boot=TOKEN_LIFE + 60)


def test_a_document_that_is_older_than_the_launch_is_denied_whatever_it_proves() -> None:
    replace = msgspec.structs.replace
    assert check(CELL, "right", "key", replace(IDENTITY, pending_at=NOW), NOW) is CELL
    assert check(CELL, "right", "key", replace(IDENTITY, pending_at=NOW - 5 - CLOCKS_APART), NOW) is CELL
    with pytest.raises(Fault, match="older than its launch") as told:
        check(CELL, "right", "key", replace(IDENTITY, pending_at=NOW - 6 - CLOCKS_APART), NOW)
    assert (told.value.kind, told.value.reason) == (Kind.DENIED, "StaleDocument")


def test_a_cell_that_is_a_group_has_the_size_and_the_use_of_its_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "GROUPS", tmp_path)
    for name, text in {
        "cpu.max": "50000 100000\n",
        "cpu.stat": "usage_usec 1234\nuser_usec 1\n",
        "memory.max": "1073741824\n",
        "memory.current": "5000\n",
        "memory.stat": "anon 1\ninactive_file 1000\n",
    }.items():
        (tmp_path / name).write_text(text)
    assert heartbeat.cpu_size() == 500
    assert heartbeat.memory_size() == 1 << 30
    assert heartbeat.memory_used() == 4000
    assert heartbeat.cpu_used() == 1_234_000


def test_a_cell_that_is_a_machine_has_the_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "GROUPS", tmp_path)
    assert heartbeat.cpu_size() >= 1000
    assert heartbeat.memory_size() > 1 << 28
    assert 0 < heartbeat.memory_used() < heartbeat.memory_size()
    assert heartbeat.cpu_used() > 0
    assert heartbeat.agent_memory() > 1 << 20
    assert len(heartbeat.boot_id()) > 36


def test_a_cell_may_say_so_much_at_once_and_each_second_and_no_more() -> None:
    cell, level = CellName("c-1"), report_checks.MessageLevel()
    for at, many in ((1000.0, report_checks.BURST), (1001.0, report_checks.RATE)):
        # Who takes a second for so many is heard for that second, too.
        for _ in range(int(many)):
            level = level.after(at, cell)
        with pytest.raises(Fault, match="more than 20 messages a second, 200 at once"):
            level.after(at, cell)
    assert level.after(5000.0, cell).level == 1


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("10.0.0.10", "10.0.0.10:7443"),
        ("10.0.0.10:443", "10.0.0.10:443"),
        ("controller.example", "controller.example:7443"),
        ("controller.example:443", "controller.example:443"),
        ("fd00::1", "[fd00::1]:7443"),
        ("[fd00::1]", "[fd00::1]:7443"),
        ("[fd00::1]:443", "[fd00::1]:443"),
    ],
)
def test_cells_dial_the_port_that_an_address_names_or_the_links(address: str, told: str) -> None:
    assert written(*dialled(address, 7443)) == told


@pytest.mark.parametrize("address", ["10.0.0.10:", "10.0.0.10:https", ":7443", "h:0", "h:65536"])
def test_an_address_with_no_port_behind_its_colon_is_refused(address: str) -> None:
    with pytest.raises(Fault, match=r"neither a host nor host:port"):
        dialled(address, 7443)
