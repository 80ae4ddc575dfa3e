"""Routes to cells: made where they are wanted, removed where they are not, and never anybody else's."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from controller.clouds.ec2.network import route_plan
from controller.clouds.ec2.network.route_plan import Drop, PrimaryInterface, Put, RoutePlan, RouteTable, RouteTarget
from controller.model.names import InstanceId

A, B = InstanceId("i-a"), InstanceId("i-b")
NET, OTHER = "10.8.0.0/24", "10.9.0.0/24"
PORTS = {A: PrimaryInterface("eni-a", "subnet-1"), B: PrimaryInterface("eni-b", "subnet-2")}
MAIN = RouteTable(id="rtb-main", main=True, routes={"10.0.0.0/16": RouteTarget("")})
OWN = RouteTable(id="rtb-own", subnets=frozenset({"subnet-1"}), routes={"10.0.0.0/16": RouteTarget("")})


def test_a_subnet_with_a_table_of_its_own_uses_it_and_the_others_the_main_one() -> None:
    plan = route_plan.plan([MAIN, OWN], {A: (NET,), B: (OTHER,)}, PORTS)

    assert set(plan.puts) == {
        Put("rtb-own", NET, A, "eni-a", replace=False),
        Put("rtb-main", OTHER, B, "eni-b", replace=False),
    }


def test_a_route_that_somebody_made_is_left_alone_and_said() -> None:
    table = replace(OWN, routes={NET: RouteTarget("eni-of-a-vpn")})
    plan = route_plan.plan([MAIN, table], {A: (NET,)}, PORTS)

    assert (plan.puts, plan.drops) == ((), ())
    assert plan.refused == (f"network {NET}: table rtb-own has a route for it that is not ours",)


def test_a_route_of_ours_to_what_is_gone_is_replaced_where_it_is_wanted_and_dropped_where_not() -> None:
    table = replace(OWN, routes={NET: RouteTarget("eni-gone", lost=True)}, owners={NET: InstanceId("i-gone")})

    wanted = route_plan.plan([MAIN, table], {A: (NET,)}, PORTS)
    assert wanted == RoutePlan(puts=(Put("rtb-own", NET, A, "eni-a", replace=True),))
    unwanted = route_plan.plan([MAIN, table], {}, PORTS)
    assert unwanted == RoutePlan(drops=(Drop("rtb-own", NET, route=True),))


def test_a_tag_of_ours_whose_route_a_person_has_led_elsewhere_loses_only_its_tag() -> None:
    table = replace(OWN, routes={NET: RouteTarget("")}, owners={NET: A})
    assert route_plan.plan([MAIN, table], {}, {}).drops == (Drop("rtb-own", NET, route=False),)


def test_of_two_that_want_a_network_the_one_that_has_it_keeps_it() -> None:
    both = {A: PrimaryInterface("eni-a", "subnet-1"), B: PrimaryInterface("eni-b", "subnet-1")}
    table = replace(OWN, routes={NET: RouteTarget("eni-b")}, owners={NET: B})

    plan = route_plan.plan([MAIN, table], {A: (NET,), B: (NET,)}, both)
    assert (plan.puts, plan.drops) == ((), ())
    assert plan.refused


def test_while_an_instance_is_not_described_it_keeps_what_it_has() -> None:
    table = replace(OWN, routes={NET: RouteTarget("eni-a")}, owners={NET: A})
    assert route_plan.plan([MAIN, table], {A: (NET,)}, {}) == RoutePlan()


def test_a_table_is_read_with_its_tags() -> None:
    table = route_plan.table(
        {
            "RouteTableId": "rtb-1",
            "Associations": [{"Main": True}, {"SubnetId": "subnet-1"}],
            "Routes": [
                {"DestinationCidrBlock": NET, "NetworkInterfaceId": "eni-a", "State": "blackhole"},
                {"DestinationIpv6CidrBlock": "fd00::/64", "GatewayId": "igw-1", "State": "active"},
            ],
            "Tags": [
                {"Key": f"chinampa.dev/route/{NET}", "Value": "blue/i-a"},
                {"Key": f"chinampa.dev/route/{OTHER}", "Value": "green/i-b"},
            ],
        },
        "blue",
    )
    assert table == RouteTable(
        id="rtb-1",
        main=True,
        subnets=frozenset({"subnet-1"}),
        routes={NET: RouteTarget("eni-a", lost=True), "fd00::/64": RouteTarget("")},
        owners={NET: A},
    )


NETWORKS = st.sampled_from([NET, OTHER, "10.10.0.0/24"])
INSTANCES = st.sampled_from([A, B, InstanceId("i-c")])
TARGETS = st.builds(RouteTarget, st.sampled_from(["", "eni-a", "eni-b", "eni-x"]), st.booleans())
TABLES = st.tuples(
    st.builds(
        RouteTable,
        id=st.just("rtb-main"),
        main=st.just(True),
        routes=st.dictionaries(NETWORKS, TARGETS),
        owners=st.dictionaries(NETWORKS, INSTANCES),
    ),
    st.builds(
        RouteTable,
        id=st.just("rtb-own"),
        subnets=st.just(frozenset({"subnet-1"})),
        routes=st.dictionaries(NETWORKS, TARGETS),
        owners=st.dictionaries(NETWORKS, INSTANCES),
    ),
)
WANTED = st.dictionaries(INSTANCES, st.lists(NETWORKS, max_size=3, unique=True).map(tuple))


def carried_out(table: RouteTable, plan: RoutePlan) -> RouteTable:
    routes, owners = dict(table.routes), dict(table.owners)
    for drop in (each for each in plan.drops if each.table == table.id):
        del owners[drop.network]
        if drop.route:
            del routes[drop.network]
    for put in (each for each in plan.puts if each.table == table.id):
        assert put.replace == (put.network in routes)
        routes[put.network], owners[put.network] = RouteTarget(put.interface), put.instance
    return replace(table, routes=routes, owners=owners)


@given(tables=TABLES, wanted=WANTED)
def test_a_plan_carried_out_leaves_nothing_to_do_and_what_is_not_ours_as_it_was(
    tables: tuple[RouteTable, RouteTable], wanted: dict[InstanceId, tuple[str, ...]]
) -> None:
    plan = route_plan.plan(tables, wanted, PORTS)
    after = [carried_out(table, plan) for table in tables]
    again = route_plan.plan(after, wanted, PORTS)

    assert (again.puts, again.drops) == ((), ())
    for before, now in zip(tables, after, strict=True):
        for network, target in before.routes.items():
            if network not in before.owners:
                assert now.routes[network] == target
        for network, owner in now.owners.items():
            assert network in wanted.get(owner, ())
            if owner in PORTS:
                assert now.routes[network].interface == PORTS[owner].interface
