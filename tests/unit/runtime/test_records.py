"""Records survive the agent; half-written ones do not confuse it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from cellagent.runtime.ledger import ContainerEntry, Phase, RuntimeLedger
from cellagent.runtime.settings import RuntimeSettings
from cellwire.faults import Fault, Kind


def ledger(folder: Path) -> RuntimeLedger:
    settings = RuntimeSettings(root=folder / "root", state=folder / "state")
    settings.prepare()
    found = RuntimeLedger(settings)
    found.load()
    return found


def container(identity: str, at: int = 1) -> ContainerEntry:
    return ContainerEntry(id=identity, sandbox_id="s", config=b"", image_id="i", image_ref="r", created_at=at)


def test_a_new_ledger_finds_what_an_old_one_wrote_oldest_first(tmp_path: Path) -> None:
    first = ledger(tmp_path)
    first.put_container(container("late", 2))
    early = first.put_container(container("early", 1))
    first.put_container(msgspec.structs.replace(early, phase=Phase.RUNNING))
    again = ledger(tmp_path)
    assert [one.id for one in again.containers()] == ["early", "late"]
    assert again.container("early").phase is Phase.RUNNING


def test_an_unreadable_record_is_forgotten_with_its_folder(tmp_path: Path) -> None:
    ledger(tmp_path).put_container(container("torn"))
    folder = tmp_path / "state" / "containers" / "torn"
    (folder / "record").write_bytes(b"\x81")
    assert list(ledger(tmp_path).containers()) == []
    assert not folder.exists()


def test_an_id_may_be_shortened_as_long_as_it_is_clear(tmp_path: Path) -> None:
    found = ledger(tmp_path)
    found.put_container(container("abc1"))
    found.put_container(container("abd2"))
    assert found.container("abc").id == "abc1"
    with pytest.raises(Fault) as caught:
        found.container("ab")
    assert caught.value.kind is Kind.NOT_FOUND
    assert found.find_container("") is None


def test_listeners_hear_of_changes_and_of_the_end(tmp_path: Path) -> None:
    found, heard = ledger(tmp_path), list[int]()
    found.put_container(container("a"))
    with found.listening("a", lambda: heard.append(1)):
        found.put_container(container("a"))
        found.drop_container("a")
    found.put_container(container("a"))
    assert len(heard) == 2
