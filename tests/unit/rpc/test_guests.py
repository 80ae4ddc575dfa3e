"""Who stays at a port that is full, and who makes room for whom."""

from hypothesis import given
from hypothesis import strategies as st

from cellwire.rpc.guests import SILENT_SECONDS, Guest, Guests, Places, key

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
