"""Which instance of a batch is whose: the same answer whoever asks, whatever a list lacks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.clouds.ec2.instances import roster
from controller.clouds.ec2.instances.roster import Deals
from controller.model.names import InstanceId

TOKENS = st.lists(st.text("abcdef0123456789-", min_size=1, max_size=40), min_size=1, max_size=60, unique=True)


@given(TOKENS)
def test_a_roster_is_read_back_from_tags_that_ec2_accepts(tokens: list[str]) -> None:
    tags = roster.written(tokens)
    assert all(len(value) <= 256 for value in tags.values())
    assert roster.read({**tags, "Name": "x"}) == tuple(tokens)


@given(st.dictionaries(st.sampled_from(["chinampa.dev/roster-0", "chinampa.dev/roster-1"]), st.text(max_size=50)))
def test_a_roster_that_somebody_edited_is_no_roster_and_no_crash(tags: dict[str, str]) -> None:
    assert roster.read(tags) == () or tags


@given(TOKENS, st.integers(1, 5))
def test_a_split_keeps_every_token_once_and_fits(tokens: list[str], room: int) -> None:
    parts = roster.split(tokens, room)
    assert [token for part in parts for token in part] == tokens
    assert all(len(part) == 1 or len(roster.written(part)) <= room for part in parts)


def test_hundreds_of_cells_fit_one_call_beside_a_pods_tags() -> None:
    tokens = [f"c-{number * 7919:010x}-1-69242f00" for number in range(400)]
    assert len(roster.split(tokens, 40)) == 1


@given(TOKENS, st.data())
def test_dealing_in_any_number_of_looks_gives_each_instance_one_token_and_never_another(
    tokens: list[str], data: st.DataObject
) -> None:
    count = data.draw(st.integers(0, len(tokens)))
    instances = [InstanceId(f"i-{number:08x}") for number in range(count)]
    deals = Deals()
    first: dict[InstanceId, str] = {}
    for _ in range(3):
        seen = data.draw(st.lists(st.sampled_from(instances), unique=True)) if instances else []
        deals.deal(tokens, seen)
        for one in seen:
            assert first.setdefault(one, deals.token_of(one)) == deals.token_of(one)
    deals.deal(tokens, instances)
    held = [deals.token_of(one) for one in instances]
    assert all(held)
    assert len(set(held)) == len(held)
    assert all(deals.token_of(one) == token for one, token in first.items())


def test_what_an_instance_says_of_itself_goes_before_the_roster() -> None:
    deals = Deals()
    deals.know("b", InstanceId("i-1"))
    deals.deal(["a", "b"], [InstanceId("i-1"), InstanceId("i-2")])
    assert (deals.token_of(InstanceId("i-1")), deals.token_of(InstanceId("i-2"))) == ("b", "a")
