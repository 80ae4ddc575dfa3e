"""Who stays at a port that is full, and who makes room for whom."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc.guests import PROVEN_SECONDS, SILENT_SECONDS, WAY_HOME, Guest, Guests, Places, key

PLACES = Places(total=6, address=3, burst=5, rate=1)


def entered(guests: Guests, host: str, now: float) -> Guest:
    guest, _ = guests.enter(host, now)
    assert guest is not None
    return guest


def test_one_address_fills_its_own_places_and_nobody_elses() -> None:
    guests = Guests(PLACES)
    for _ in range(3):
        entered(guests, "10.0.0.1", 0)
    assert guests.enter("10.0.0.1", 1) == (None, None), "the others have not been silent for long"
    entered(guests, "10.0.0.2", 1)
    assert guests.count == 4


def test_the_longest_silent_of_the_same_address_makes_room() -> None:
    guests = Guests(PLACES)
    first = entered(guests, "10.0.0.1", 0)
    entered(guests, "10.0.0.1", 1)
    entered(guests, "10.0.0.1", 1)
    guest, leaver = guests.enter("10.0.0.1", SILENT_SECONDS)
    assert guest is not None
    assert leaver is first


def test_of_a_full_port_the_address_that_has_most_makes_room() -> None:
    guests = Guests(PLACES)
    first = entered(guests, "10.0.0.1", 0)
    for host in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.2", "10.0.0.3"):
        entered(guests, host, 0)
    assert guests.enter("10.0.0.4", 1) == (None, None)
    assert guests.enter("10.0.0.4", SILENT_SECONDS)[1] is first


def test_who_has_put_a_whole_request_makes_room_for_nobody() -> None:
    guests = Guests(PLACES)
    for _ in range(3):
        guests.heard(entered(guests, "10.0.0.1", 0))
    assert guests.enter("10.0.0.1", 100) == (None, None)
    assert guests.longest_silent() is None


def test_who_comes_too_often_is_sent_away_until_some_time_has_passed() -> None:
    guests = Guests(PLACES)
    for _ in range(5):
        guests.leave(entered(guests, "10.0.0.1", 0))
    assert guests.enter("10.0.0.1", 0.5) == (None, None)
    entered(guests, "10.0.0.2", 0.5)
    entered(guests, "10.0.0.1", 2)


def test_what_one_machine_can_have_is_one_address() -> None:
    assert key("::ffff:10.0.0.1") == key("10.0.0.1")
    assert key("2001:db8::1") == key("2001:db8::2%eth0") != key("2001:db8:0:1::1")
    assert key("c-1") == "c-1"


@given(
    st.lists(st.tuples(st.sampled_from(("enter", "heard", "leave")), st.integers(0, 9), st.floats(0, 3)), max_size=120)
)
def test_there_are_never_more_guests_than_places_and_all_who_left_are_forgotten(
    steps: list[tuple[str, int, float]],
) -> None:
    guests, there, now = Guests(PLACES), list[Guest](), 0.0
    for step, number, seconds in steps:
        now += seconds
        if step == "enter":
            guest, leaver = guests.enter(f"10.0.0.{number % 4}", now)
            if leaver is not None:
                there.remove(leaver)
            if guest is not None:
                there.append(guest)
        elif there and step == "heard":
            guests.heard(there[number % len(there)])
        elif there:
            guests.leave(there.pop(number % len(there)))
        assert guests.count == len(there) <= PLACES.total
        for host in range(4):
            assert sum(each.address == f"10.0.0.{host}" for each in there) <= PLACES.address
    for guest in there:
        guests.leave(guest)
    assert guests.count == 0
    assert guests.longest_silent() is None


def came(guests: Guests, host: str, at: float) -> bool:
    """Whether it is let in; it goes at once."""
    guest, _ = guests.enter(host, at)
    if guest is not None:
        guests.leave(guest)
    return guest is not None


SHAKING = Places(total=6, address=3, burst=20, rate=100, vain_burst=20, vain_rate=4, proven_rate=20)


def test_who_only_shakes_hands_is_soon_let_in_a_few_times_a_second() -> None:
    guests = Guests(SHAKING)
    let_in = [at for step in range(1000) if came(guests, "10.0.0.1", at := step / 100)]
    assert len([at for at in let_in if at >= 5]) == pytest.approx(5 * SHAKING.vain_rate, abs=1)
    assert came(guests, "10.0.0.2", 10.0), "another address has its own"


def test_a_thousand_instances_by_one_address_may_each_try_for_the_bundle_before_the_first_is_at_home() -> None:
    guests = Guests(Places())
    assert all(came(guests, "10.0.0.1", step / Places().rate) for step in range(2000))


def test_any_number_of_cells_may_come_by_one_address_as_often_as_it_may_come_at_all() -> None:
    guests = Guests(SHAKING)
    for step in range(1000):
        at = step / 50
        cell = entered(guests, "10.0.0.1", at)
        guests.proved(cell, at)
        guests.leave(cell)


def test_the_dials_on_the_way_to_a_certificate_are_given_back() -> None:
    guests = Guests(SHAKING)
    for step in range(200):
        at = step / 10
        assert all(came(guests, "10.0.0.1", at) for _ in range(WAY_HOME - 1))
        cell = entered(guests, "10.0.0.1", at)
        guests.proved(cell, at)
        guests.leave(cell)


def test_a_cell_comes_home_beside_a_stranger_at_its_address_who_dials_without_end() -> None:
    guests, chance, now = Guests(SHAKING), random.Random(1), 0.0
    for _ in range(200):
        due = now + chance.uniform(0, 30)
        while now < due:
            came(guests, "10.0.0.1", now)
            now += chance.expovariate(100)
        if due > 20 and came(guests, "10.0.0.1", due):
            return
    pytest.fail("it was shut out")


def test_where_cells_have_shown_themselves_an_address_has_more_left_for_another() -> None:
    guests = Guests(SHAKING)
    guests.proved(entered(guests, "10.0.0.1", 0), 0)
    let_in = [at for step in range(2000) if came(guests, "10.0.0.1", at := step / 100)]
    assert len([at for at in let_in if at >= 10]) == pytest.approx(10 * SHAKING.proven_rate, abs=2)
    later = [at for step in range(2000) if came(guests, "10.0.0.1", at := PROVEN_SECONDS + 20 + step / 100)]
    assert len([at for at in later if at >= PROVEN_SECONDS + 30]) == pytest.approx(10 * SHAKING.vain_rate, abs=2)
