"""The local cloud's decisions: addresses, refusals, metadata answers, cgroup layouts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from controller.clouds.local import addresses, instance_types, metadata
from controller.clouds.local.instance_cgroups import Hierarchy, hierarchies
from controller.clouds.local.instance_records import unknown
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.refusals import first_fit
from controller.model.names import InstanceId
from hostkit import mountinfo

SOLD = instance_types.offers("x86_64", "local-a", 2, 4096)
FACTS = metadata.InstanceMetadata(
    {"user-data": "#!/bin/sh", "meta-data/instance-id": "i-1", "meta-data/placement/region": "local"}, b"k"
)
TTL = "x-aws-ec2-metadata-token-ttl-seconds"
NOW = 1_000_000.0


def session(ttl: int = 60) -> dict[str, str]:
    told = metadata.answer(FACTS, "PUT", "/latest/api/token", {TTL: str(ttl)}, NOW)
    assert (told.status, told.ttl) == (200, ttl)
    return {"x-aws-ec2-metadata-token": told.body}


def test_pairs_of_addresses_go_round_and_skip_those_in_use() -> None:
    subnet = "10.6.0.0/28"
    first, pod = addresses.pair_after(subnet, "", ())
    assert (first, pod) == ("10.6.0.4", "10.6.0.5")
    assert addresses.pair_after(subnet, first, ()) == ("10.6.0.6", "10.6.0.7")
    assert addresses.pair_after(subnet, "10.6.0.12", {"10.6.0.4"}) == ("10.6.0.6", "10.6.0.7")


def test_a_full_subnet_is_a_lack_of_capacity() -> None:
    with pytest.raises(Fault) as raised:
        addresses.pair_after("10.6.0.0/29", "", {"10.6.0.4"})
    assert raised.value.kind is Kind.NO_CAPACITY


def test_names_follow_from_the_address() -> None:
    assert addresses.hostname("10.201.0.7") == "ip-10-201-0-7"
    assert addresses.mac("10.201.0.7") == "02:c1:0a:c9:00:07"
    assert len(addresses.veth("i-0123456789abcdef0")) == 15


def test_no_type_larger_than_the_machine_is_sold_and_spot_is_cheaper() -> None:
    assert {offer.shape.type for offer in SOLD}.isdisjoint({"local.xlarge", "local.memory"})
    prices = {(offer.shape.type, offer.launch_type.value): offer.usd_per_hour for offer in SOLD}
    assert all(prices[name, "spot"] < price for (name, kind), price in prices.items() if kind == "on-demand")


def test_a_refused_offer_leads_to_the_next_one() -> None:
    taken, refused = first_fit(SOLD, SOLD, {SOLD[0].shape.type: "InsufficientInstanceCapacity"}, 4096)
    assert taken is not None
    assert taken.shape.type != SOLD[0].shape.type
    assert [refusal.unfulfilled.code for refusal in refused] == ["InsufficientInstanceCapacity"] * 2


def test_a_refusal_that_no_other_offer_changes_ends_the_search() -> None:
    taken, refused = first_fit(SOLD, SOLD, {SOLD[0].shape.type: "UnauthorizedOperation"}, 4096)
    assert taken is None
    assert [refusal.fault.kind for refusal in refused] == [Kind.DENIED]


def test_what_does_not_fit_beside_the_others_has_no_capacity() -> None:
    taken, refused = first_fit(SOLD[:1], SOLD, {}, 100)
    assert taken is None
    assert "100 MiB of this machine are free" in str(refused[0].fault)


def test_metadata_asks_for_a_session_token() -> None:
    assert metadata.answer(FACTS, "GET", "/latest/meta-data/instance-id", {}, NOW).status == 401
    assert metadata.answer(FACTS, "GET", "/latest/meta-data/instance-id", session(), NOW).body == "i-1"


def test_a_session_token_ends_and_is_good_for_one_instance_only() -> None:
    token = session(ttl=60)
    other = metadata.InstanceMetadata(FACTS.tree, b"other")
    assert metadata.answer(FACTS, "GET", "/latest/user-data", token, NOW + 59).status == 200
    assert metadata.answer(FACTS, "GET", "/latest/user-data", token, NOW + 60).status == 401
    assert metadata.answer(other, "GET", "/latest/user-data", token, NOW).status == 401


@pytest.mark.parametrize("ttl", ["", "0", "21601", "-1", "abc", "9" * 5000, "²"])
def test_a_session_needs_a_proper_length(ttl: str) -> None:
    assert metadata.answer(FACTS, "PUT", "/latest/api/token", {TTL: ttl}, NOW).status == 400


def test_no_session_through_a_proxy() -> None:
    assert (
        metadata.answer(FACTS, "PUT", "/latest/api/token", {TTL: "60", "x-forwarded-for": "1.1.1.1"}, NOW).status == 403
    )


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 56, "=" * 8])
def test_a_made_up_token_is_refused(token: str) -> None:
    assert metadata.answer(FACTS, "GET", "/latest/", {"x-aws-ec2-metadata-token": token}, NOW).status == 401


def test_folders_are_listed_and_unknown_paths_are_not_found() -> None:
    def get(path: str) -> tuple[int, str]:
        told = metadata.answer(FACTS, "GET", path, session(), NOW)
        return told.status, told.body

    assert get("/latest/meta-data/") == (200, "instance-id\nplacement/")
    assert get("/latest") == (200, "meta-data/\nuser-data")
    assert get("/latest/meta-data/spot/instance-action") == (404, "")
    assert get("/2031-01-01/meta-data/") == (404, "")
    assert metadata.answer(FACTS, "POST", "/latest/user-data", session(), NOW).status == 405


def test_both_addresses_are_told_the_primary_first() -> None:
    record = unknown(InstanceId("i-1"))
    known = metadata.facts(LocalSettings(), record, document="d", signature="s", key=b"")
    assert known.tree[f"meta-data/network/interfaces/macs/{record.mac}/local-ipv4s"].split("\n") == [
        record.address,
        record.pod_address,
    ]


def test_hierarchies_are_read_whether_v1_v2_or_both() -> None:
    pure = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
    mixed = (
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 31 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd\n"
        "34 31 0:30 / /elsewhere rw - cgroup cgroup rw,xattr,name=systemd\n"
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "42 31 0:39 / /proc rw - proc proc rw\n"
    )
    assert hierarchies(mountinfo.parsed(pure)) == (Hierarchy(Path("/sys/fs/cgroup"), unified=True),)
    assert hierarchies(mountinfo.parsed(mixed)) == (
        Hierarchy(Path("/sys/fs/cgroup/cpu,cpuacct"), unified=False, names=("cpu", "cpuacct")),
        Hierarchy(Path("/sys/fs/cgroup/systemd"), unified=False, names=("name=systemd",)),
        Hierarchy(Path("/sys/fs/cgroup/unified"), unified=True),
    )
