"""Which warm cells are requested, kept, replaced and let go, and which of them a pod takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault
from controller.choice.requirements import Requirements, read
from controller.fleet.fleet_settings import OverheadOptions, StandbyTable
from controller.fleet.launch_parameters import required
from controller.fleet.pool.configured import classes
from controller.fleet.pool.pool_plan import DEARER, Outlook, PoolPlan, plan_pool
from controller.fleet.pool.warm_cells import Class, Versions, suitable, usd_per_hour, warm
from controller.model.cell import Cell, CellState, Standby
from controller.model.names import CellName, PodUid
from controller.model.offer import Demand, Gpus, LaunchType, Offer, Shape
from controller.model.pod import PodClaim, PodRef
from tests.support.fake_cloud import offers

T = 100_000.0
DEMAND = Demand(cpu_millis=100, memory_mib=100)
CLAIM = PodClaim(pod=PodRef(uid=PodUid("u"), namespace="default", name="web"), demand=DEMAND)
SMALL, MEDIUM, LARGE = (
    next(o for o in offers() if o.shape.type == size and o.launch_type is LaunchType.ON_DEMAND)
    for size in ("small", "medium", "large")
)
WEB = Class(name="web", demand=DEMAND, count=2)
NOW = Versions("1.1", "ami-2")


def cell(name: str, state: CellState = CellState.READY, of: Class = WEB, **facts: Any) -> Cell:
    standby = Standby(of=of.name, max_price=0.015, annotations=of.annotations, agent="1.1", image="ami-2")
    launched = {CellState.READY, CellState.BOOTING}
    fields: dict[str, Any] = {
        "standby": standby, "created_at": T - 100, "offer": SMALL if state in launched else None,
        "connected": state is CellState.READY, **facts,
    }  # fmt: skip
    return Cell(name=CellName(name), state=state, demand=of.demand, **fields)


def outlook(want: int, keep: int | None = None, release: int = 0, price: float | None = 0.01) -> Outlook:
    worth = tuple(1 / (1 + each) for each in range(max(want, keep or 0)))
    return Outlook(want=want, keep=want if keep is None else keep, release=release, worth=worth, usd_per_hour=price)


def planned(cells: list[Cell], ahead: Outlook, of: Class = WEB, bound: float = 0.0) -> PoolPlan:
    return plan_pool(cells, [(of, ahead)], NOW, T, bound)


def test_what_is_missing_is_requested_with_what_such_a_pod_would_ask_for() -> None:
    spot = Class(name="spot", demand=DEMAND, annotations={"chinampa.dev/launch-type": "spot"})
    (request,) = planned([cell("a", of=spot)], outlook(2), spot).request

    assert request.demand == DEMAND
    assert (request.standby.of, request.standby.agent, request.standby.image) == ("spot", "1.1", "ami-2")
    asked = read(required(Cell(name=CellName("b"), state=CellState.REQUESTED, demand=DEMAND, standby=request.standby)))
    assert asked.launch_types == (LaunchType.SPOT,)
    assert asked.max_price == pytest.approx(0.01 * DEARER)


def test_cells_with_a_pod_do_not_count() -> None:
    assert len(planned([cell("a", claim=CLAIM), cell("b")], outlook(2)).request) == 1


def test_nothing_is_requested_while_none_can_be_had() -> None:
    assert planned([], outlook(2, price=None)) == PoolPlan()


def test_surplus_goes_a_few_at_a_time_those_farthest_from_ready_first() -> None:
    cells = [cell("a"), cell("b", CellState.BOOTING), cell("c", CellState.REQUESTED), cell("d")]

    assert planned(cells, outlook(1, release=0)).surplus == {}
    assert set(planned(cells, outlook(1, release=2)).surplus) == {"c", "b"}
    assert set(planned(cells, outlook(1, keep=3, release=9)).surplus) == {"c"}


def test_cells_of_a_class_that_is_no_more_are_let_go() -> None:
    other = Class(name="old", demand=DEMAND)

    assert set(planned([cell("a", of=other), cell("b", standby=None)], outlook(0)).surplus) == {"a", "b"}


@pytest.mark.parametrize(
    ("old", "why"),
    [
        (cell("a", created_at=T - 86_400), "it waited"),
        (cell("a", of=Class(name="web", demand=Demand(cpu_millis=9, memory_mib=9))), "class was changed"),
        (cell("a", standby=Standby(of="web", max_price=1.0, agent="1.0", image="ami-2")), "its agent is 1.0"),
        (cell("a", standby=Standby(of="web", max_price=1.0, agent="1.1", image="ami-1")), "its machine image is ami-1"),
    ],
)
def test_an_old_cell_stays_until_another_is_ready_in_its_place(old: Cell, why: str) -> None:
    one = msgspec.structs.replace(WEB, count=1)
    alone = planned([old], outlook(1), one)
    coming = planned([old, cell("b", CellState.BOOTING)], outlook(1), one)
    ready = planned([old, cell("b")], outlook(1), one)

    assert (len(alone.request), alone.surplus) == (1, {})
    assert (len(coming.request), coming.surplus) == (0, {})
    assert why in ready.surplus[CellName("a")]


def test_a_version_that_is_not_known_is_no_reason_to_replace() -> None:
    unknown = cell("a", standby=Standby(of="web", max_price=1.0))

    assert planned([unknown], outlook(1)) == PoolPlan()
    assert plan_pool([cell("a")], [(WEB, outlook(1))], Versions(), T) == PoolPlan()


def test_where_the_bound_has_no_room_for_both_the_old_cell_goes_first() -> None:
    old = cell("a", created_at=T - 86_400)
    first = planned([old], outlook(1), bound=0.015)

    assert first.request == ()
    assert set(first.surplus) == {"a"}


def test_fixed_numbers_come_before_what_would_bring_more_hits() -> None:
    eager = Class(name="eager", demand=DEMAND, most=9)
    made = plan_pool([], [(eager, outlook(9)), (WEB, outlook(2))], NOW, T, bound=0.035)

    assert Counter(each.standby.of for each in made.request) == {"web": 2, "eager": 1}


def test_cells_of_one_class_make_room_for_the_fixed_number_of_another() -> None:
    eager = Class(name="eager", demand=DEMAND, most=9)
    cells = [cell(name, of=eager) for name in "abc"]
    made = plan_pool(cells, [(eager, outlook(3)), (WEB, outlook(2))], NOW, T, bound=0.03)

    assert made.request == ()
    assert len(made.surplus) == 2


STATES = st.sampled_from([CellState.REQUESTED, CellState.LAUNCHING, CellState.BOOTING, CellState.READY])
OFFERS = st.sampled_from([SMALL, MEDIUM])


@st.composite
def pools(draw: st.DrawFn) -> tuple[list[Cell], list[tuple[Class, Outlook]], float]:
    kinds = [
        Class(name=name, demand=DEMAND, count=draw(st.integers(0, 3)), most=draw(st.integers(0, 8))) for name in "xyz"
    ]
    cells: list[Cell] = []
    for number in range(draw(st.integers(0, 12))):
        state = draw(STATES)
        bought = draw(OFFERS) if state in {CellState.READY, CellState.BOOTING} else None
        age = draw(st.sampled_from([10.0, 90_000.0]))
        cells.append(cell(f"c-{number}", state, draw(st.sampled_from(kinds)), offer=bought, created_at=T - age))
    wanted: list[tuple[Class, Outlook]] = []
    for kind in kinds:
        want = draw(st.integers(kind.count, max(kind.count, kind.most)))
        price = draw(st.none() | st.floats(0.001, 0.1))
        wanted.append((kind, outlook(want, want + draw(st.integers(0, 3)), draw(st.integers(0, 4)), price)))
    return cells, wanted, draw(st.just(0.0) | st.floats(0.005, 0.2))


@given(pools())
def test_the_pool_never_passes_its_bound_nor_its_numbers(
    pool: tuple[list[Cell], list[tuple[Class, Outlook]], float],
) -> None:
    cells, wanted, bound = pool
    made = plan_pool(cells, wanted, NOW, T, bound)
    paid = sum(usd_per_hour(each) for each in warm(cells))
    asked = sum(each.standby.max_price for each in made.request)

    assert not made.request or not bound or paid + asked <= bound + 1e-6
    for kind, ahead in wanted:
        requested = sum(each.standby.of == kind.name for each in made.request)
        mine = [each for each in cells if each.standby is not None and each.standby.of == kind.name]
        young = sum(each.created_at > T - 50_000 for each in mine)
        assert not requested or ahead.usd_per_hour is not None
        assert not requested or young + requested <= ahead.want
    assert set(made.surplus) <= {each.name for each in cells}


@given(pools())
def test_repeated_plans_come_to_rest_within_the_bound_at_what_is_wanted(
    pool: tuple[list[Cell], list[tuple[Class, Outlook]], float],
) -> None:
    cells, wanted, bound = pool
    wanted = [(kind, msgspec.structs.replace(ahead, release=2)) for kind, ahead in wanted]
    made = PoolPlan()
    for turn in range(60):
        made = plan_pool(cells, wanted, NOW, T, bound)
        booted = all(each.state is CellState.READY for each in cells)
        if made == PoolPlan() and booted:
            break
        cells = [
            msgspec.structs.replace(each, state=CellState.READY) for each in cells if each.name not in made.surplus
        ]
        for number, request in enumerate(made.request):
            bought = msgspec.structs.replace(SMALL, usd_per_hour=request.standby.max_price / DEARER)
            cells.append(
                Cell(
                    name=CellName(f"n-{turn}-{number}"), state=CellState.READY, demand=request.demand,
                    standby=request.standby, created_at=T, offer=bought,
                )
            )  # fmt: skip

    assert made == PoolPlan(), "it flaps"
    assert not bound or sum(usd_per_hour(each) for each in cells) <= bound + 1e-6
    if not bound:
        for kind, ahead in wanted:
            have = sum(each.standby is not None and each.standby.of == kind.name for each in cells)
            assert have <= ahead.keep or ahead.usd_per_hour is None
            assert have >= ahead.want or ahead.usd_per_hour is None


def test_a_pod_takes_the_ready_cell_that_wastes_least_and_of_equals_the_oldest() -> None:
    cells = [
        cell("c-medium", offer=MEDIUM),
        cell("c-young"),
        cell("c-old", created_at=T - 900),
        cell("c-coming", CellState.BOOTING),
        cell("c-silent", connected=False),
        cell("c-asked", CellState.REQUESTED),
    ]
    best = suitable(cells, DEMAND, Requirements(), {}, 1.0)

    assert best == ("c-old", "c-young", "c-medium", "c-silent", "c-coming")
    assert suitable(cells, Demand(cpu_millis=800, memory_mib=100), Requirements(), {}, 1.0) == ("c-medium",)
    assert suitable(cells, DEMAND, Requirements(max_price=0.001), {}, 1.0) == ()


def test_a_pod_does_not_take_a_warm_cell_that_is_much_dearer_than_a_fresh_one() -> None:
    cells = [cell("c-large", offer=LARGE), cell("c-medium", offer=MEDIUM)]

    assert suitable(cells, DEMAND, Requirements(), {}, 2 * SMALL.usd_per_hour) == ("c-medium",)


def test_what_only_a_cloud_understands_must_have_been_asked_for_at_launch() -> None:
    private = {"chinampa.dev/public-address": "false"}
    cells = [cell("c-any"), cell("c-private", of=Class(name="private", demand=DEMAND, annotations=private))]

    assert suitable(cells, DEMAND, Requirements(), private, 1.0) == ("c-private",)
    assert suitable(cells, DEMAND, Requirements(), {"chinampa.dev/launch-type": "on-demand"}, 1.0) == ("c-any",)


def test_a_pod_gets_the_disk_that_it_asks_for() -> None:
    large = Class(name="large", demand=DEMAND, annotations={"chinampa.dev/volume-size": "50"})
    roomy = Class(name="roomy", demand=msgspec.structs.replace(DEMAND, disk_gb=40))
    cells = [cell("c-any"), cell("c-large", of=large), cell("c-roomy", of=roomy)]

    # Of a large volume the system and the images take their part.
    assert suitable(cells, Demand(cpu_millis=100, memory_mib=100, disk_gb=40), Requirements(), {}, 1.0) == ("c-roomy",)
    assert suitable(cells, DEMAND, Requirements(volume_gb=45), {}, 1.0) == ("c-large",)
    assert suitable(cells, DEMAND, Requirements(volume_gb=60), {}, 1.0) == ()


def test_gpu_cells_are_for_pods_that_ask_for_their_gpus() -> None:
    shape = Shape(
        type="g", architecture="amd64", cpu_millis=4000, memory_mib=9000, baseline_millis=4000, gpus=Gpus(1, "t4")
    )
    bought = Offer(shape=shape, zone="a", launch_type=LaunchType.ON_DEMAND, usd_per_hour=0.5)
    cells = [cell("c-gpu", offer=bought)]

    assert suitable(cells, DEMAND, Requirements(), {}, 9.0) == ()
    assert suitable(cells, Demand(cpu_millis=1, memory_mib=1, gpus=1), Requirements(gpu_name="t4"), {}, 9.0) == (
        "c-gpu",
    )
    assert suitable(cells, Demand(cpu_millis=1, memory_mib=1, gpus=1), Requirements(gpu_name="a100"), {}, 9.0) == ()


def test_settings_make_classes() -> None:
    tables = (
        StandbyTable(count=2, cpu="500m", memory="256Mi"),
        StandbyTable(
            name="gpu",
            most=4,
            cpu="4",
            memory="16Gi",
            gpus=1,
            disk="20G",
            annotations=("launch-type=spot", "gpu-name = t4"),
        ),
    )
    web, gpu = classes(tables, OverheadOptions(cpu=10, memory=96))

    assert (web.name, web.count, web.demand) == ("standby-1", 2, Demand(cpu_millis=510, memory_mib=352))
    assert gpu.annotations == {"chinampa.dev/launch-type": "spot", "chinampa.dev/gpu-name": "t4"}
    assert (gpu.most, gpu.demand.gpus, gpu.demand.disk_gb) == (4, 1, 20)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"cpu": "lots"}, "quantity 'lots'"),
        ({"annotations": ("spot",)}, 'write it as "launch-type=spot"'),
        ({"annotations": ("lunch-type=spot",)}, "there is no such annotation"),
    ],
)
def test_a_class_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], said: str) -> None:
    table: dict[str, Any] = {"cpu": "1", "memory": "1Gi", "name": "ci", **wrong}
    with pytest.raises(Fault) as raised:
        classes([StandbyTable(**table)], OverheadOptions())

    assert "standby ci" in str(raised.value)
    assert said in str(raised.value)


def test_two_classes_of_one_name_are_refused() -> None:
    table = StandbyTable(name="ci", cpu="1", memory="1Gi")
    with pytest.raises(Fault, match="two have that name"):
        classes([table, table], OverheadOptions())
