"""Whose handshake is next: few at once, cells apart from strangers, no address before its turn, nobody too late."""

from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc import limits
from cellwire.rpc.guests import Guest
from cellwire.rpc.handshakes import (
    CELLS_AT_ONCE,
    CELLS_PATIENCE_SECONDS,
    LOOK_SECONDS,
    PATIENCE_SECONDS,
    STRANGERS_AT_ONCE,
    TURN_SECONDS,
    Turns,
)


def begun(turns: Turns, now: float) -> list[Guest]:
    """All whose turn it is."""
    return list(iter(lambda: turns.next(now), None))


def queue(turns: Turns, *addresses: str, familiar: bool = False, now: float = 0.0) -> list[Guest]:
    guests = [Guest(address, now) for address in addresses]
    for guest in guests:
        turns.wait(guest, familiar=familiar)
    return guests


def test_strangers_that_hold_all_their_turns_hold_up_no_cell() -> None:
    turns = Turns()
    queue(turns, *(f"s{number}" for number in range(500)))
    assert len(begun(turns, 0.0)) == STRANGERS_AT_ONCE
    cells = queue(turns, *(f"c{number}" for number in range(100)), familiar=True)
    assert begun(turns, 0.1) == cells[:CELLS_AT_ONCE]


def test_cells_that_all_redial_hold_up_no_stranger() -> None:
    turns = Turns()
    queue(turns, *(f"c{number}" for number in range(500)), familiar=True)
    begun(turns, 0.0)
    (stranger,) = queue(turns, "s")
    assert begun(turns, 0.1) == [stranger]


def test_an_address_that_dials_often_waits_for_those_that_dial_once() -> None:
    turns = Turns()
    crowd = queue(turns, *["a"] * 50)
    first = begun(turns, 0.0)
    other = queue(turns, "b")
    for guest in first[:2]:
        turns.leave(guest)
    assert begun(turns, 0.1) == [crowd[len(first)], *other]


def test_who_does_not_go_on_gives_its_turn_to_another() -> None:
    turns = Turns()
    queue(turns, *(f"s{number}" for number in range(100)))
    assert len(begun(turns, 0.0)) == STRANGERS_AT_ONCE
    assert not begun(turns, TURN_SECONDS * 0.9)
    assert len(begun(turns, TURN_SECONDS)) == STRANGERS_AT_ONCE


def test_who_has_waited_longer_than_a_dialler_does_costs_no_handshake() -> None:
    turns = Turns()
    waiting = queue(turns, *["a"] * STRANGERS_AT_ONCE, *"bcd")
    first = begun(turns, 0.0)
    assert not turns.late(PATIENCE_SECONDS / 2)
    assert set(turns.late(PATIENCE_SECONDS)) == set(waiting) - set(first)
    assert not begun(turns, PATIENCE_SECONDS + TURN_SECONDS)


def test_cells_wait_for_longer_as_they_dial_with_more_patience() -> None:
    turns = Turns()
    cells = queue(turns, *(f"c{number}" for number in range(CELLS_AT_ONCE + 5)), familiar=True)
    begun(turns, 0.0)
    assert PATIENCE_SECONDS < CELLS_PATIENCE_SECONDS < limits.DIAL_SECONDS
    assert not turns.late(PATIENCE_SECONDS)
    assert turns.late(CELLS_PATIENCE_SECONDS) == cells[CELLS_AT_ONCE:]


@given(st.lists(st.tuples(st.sampled_from(("dial", "end", "go on")), st.integers(0, 9), st.booleans()), max_size=200))
def test_never_more_at_once_and_nobody_is_forgotten(steps: list[tuple[str, int, bool]]) -> None:
    turns, now = Turns(), 0.0
    waiting: set[Guest] = set()
    under_way: dict[Guest, bool] = {}
    for what, number, familiar in steps:
        now += LOOK_SECONDS / 100
        if what == "dial":
            waiting.update(queue(turns, f"{familiar}{number}", familiar=familiar, now=now))
        elif what == "end" and under_way:
            guest = list(under_way)[number % len(under_way)]
            turns.leave(guest)
            del under_way[guest]
        for guest in begun(turns, now):
            waiting.remove(guest)
            under_way[guest] = guest.address.startswith("True")
        cells = sum(under_way.values())
        assert cells <= CELLS_AT_ONCE
        assert len(under_way) - cells <= STRANGERS_AT_ONCE
    for guest in list(under_way):
        turns.leave(guest)
    while more := begun(turns, now):
        waiting.difference_update(more)
        for guest in more:
            turns.leave(guest)
    assert not waiting
