"""Nobody is lost by a silence that may be the controller's own: after a start, after a pause, among many."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.fleet.plan import FleetLimits, Lose, Seen, plan_cell
from controller.fleet.silence import AWAY_SECONDS, LONGEST_CROWD, Listening, begun, look
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance, InstanceState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand, LaunchType
from controller.model.pod import PodClaim, PodRef

DEMAND = Demand(cpu_millis=100, memory_mib=100)
LIMITS = FleetLimits()
PASS = 2.0
T = 10_000.0


def cell(number: int, *, heard: float = 0.0, since: float = 0.0) -> Cell:
    return Cell(
        name=CellName(f"c-{number}"),
        state=CellState.CLAIMED,
        demand=DEMAND,
        claim=PodClaim(pod=PodRef(uid=PodUid(f"u{number}"), namespace="default", name="web"), demand=DEMAND),
        instance=InstanceId(f"i-{number}"),
        changed_at=since,
        last_heartbeat=heard,
    )


def instance(number: int) -> Instance:
    return Instance(
        id=InstanceId(f"i-{number}"),
        state=InstanceState.RUNNING,
        type="small",
        zone="a",
        launch_type=LaunchType.ON_DEMAND,
        client_token="t",
    )


class Watch:
    """A controller that looks at its cells every two seconds and gives up those whose plan is to be lost."""

    def __init__(self, count: int, at: float = 0.0, *, heard: float = 0.0) -> None:
        self.now = at
        self.listening = begun(at)
        self.cells = {number: cell(number, heard=heard) for number in range(count)}
        self.lost: dict[int, str] = {}

    def hear(self, *numbers: int) -> None:
        for number in numbers:
            if number in self.cells:
                self.cells[number] = msgspec.structs.replace(self.cells[number], last_heartbeat=self.now)

    def wait(self, seconds: float, *live: int, crowded: bool = False) -> None:
        """Time passes, in which these cells are heard."""
        end = self.now + seconds
        while self.now < end:
            self.now += PASS
            self.hear(*live)
            self.look(crowded=crowded)

    def look(self, *, crowded: bool = False) -> None:
        cells = self.cells.values()
        self.listening = look(self.listening, cells, LIMITS.lease, LIMITS.heartbeat, self.now, crowded=crowded)
        for number, each in list(self.cells.items()):
            seen = Seen(listening=self.listening, listed_at=self.now, instance=instance(number))
            action = plan_cell(each, seen, LIMITS, self.now)
            if isinstance(action, Lose):
                self.lost[number] = action.reason
                del self.cells[number]


def test_one_silent_cell_is_lost_after_its_lease() -> None:
    watch = Watch(50)
    watch.wait(100, *range(50))
    watch.wait(LIMITS.lease + PASS, *range(1, 50))

    assert list(watch.lost) == [0]
    assert watch.lost[0].startswith("CellLost: nothing was heard of it for 3")


@pytest.mark.parametrize(("silent", "of", "lost"), [(5, 20, 5), (6, 20, 0), (10, 100, 10), (11, 100, 0), (5, 5, 5)])
def test_more_than_a_handful_and_a_tenth_at_once_are_not_lost_by_lease(silent: int, of: int, lost: int) -> None:
    watch = Watch(of)
    watch.wait(100, *range(of))
    watch.wait(600, *range(silent, of))

    assert len(watch.lost) == lost


def test_cells_that_fall_silent_one_after_the_other_within_a_heartbeat_are_many_from_the_first_on() -> None:
    watch = Watch(100)
    watch.wait(100, *range(100))
    for number in range(0, 100, 40):
        watch.wait(PASS, *range(number, 100))
    watch.wait(600)

    assert not watch.lost
    assert watch.listening.mass


def test_after_many_were_silent_those_that_stay_so_have_the_time_of_a_redial_and_a_lease() -> None:
    watch = Watch(100)
    watch.wait(100, *range(100))
    watch.wait(300)
    watch.wait(LIMITS.redial, *range(1, 100))
    assert not watch.lost
    watch.wait(LIMITS.lease + 4 * PASS, *range(1, 100))

    assert list(watch.lost) == [0]


def test_no_lease_runs_out_after_a_start_while_cells_still_come_back() -> None:
    # A cell a second and a half: far longer than lease and redial together, and at last only a few are missing.
    watch = Watch(100, T)
    back: list[int] = []
    for number in range(99):
        back.append(number)
        watch.wait(1.5, *back)
    assert not watch.lost
    watch.wait(LIMITS.redial + LIMITS.lease - PASS, *back)
    assert not watch.lost
    watch.wait(2 * PASS, *back)

    assert list(watch.lost) == [99], "one that does not come is lost in the end"


def test_no_lease_runs_out_while_cells_dial_in_vain_since_too_many_do() -> None:
    watch = Watch(50)
    watch.wait(100, *range(50))
    watch.cells[0] = cell(0, since=watch.now)  # it has joined, and has to dial once more
    watch.wait(300, *range(1, 50), crowded=True)
    assert not watch.lost
    watch.wait(LIMITS.redial + LIMITS.lease - PASS, *range(1, 50))
    assert not watch.lost
    watch.wait(2 * PASS, *range(1, 50))

    assert list(watch.lost) == [0], "one that does not come is lost in the end"


def test_a_door_that_is_kept_crowded_keeps_no_lease_from_running_out_for_ever() -> None:
    watch = Watch(50)
    watch.wait(100, *range(50))
    longest = LIMITS.lease * LONGEST_CROWD + LIMITS.redial + LIMITS.lease
    while watch.now < 100 + 2 * longest and not watch.lost:
        watch.wait(30, *range(1, 50))
        watch.wait(PASS, *range(1, 50), crowded=True)
    assert list(watch.lost) == [0]
    assert watch.now < 100 + longest + 90


def test_a_controller_that_stood_still_hears_its_cells_before_it_gives_any_up() -> None:
    watch = Watch(3)
    watch.wait(100, 0, 1, 2)
    watch.now += 3600
    watch.look()
    watch.wait(LIMITS.lease, 0, 1)
    assert not watch.lost
    watch.wait(LIMITS.redial + PASS, 0, 1)

    assert list(watch.lost) == [2]


def test_a_clock_that_was_ahead_for_a_while_keeps_no_lease_from_running_out() -> None:
    watch = Watch(3)
    watch.wait(100, 0, 1, 2)
    watch.now += 3600
    watch.wait(10, 0, 1, 2)
    watch.now -= 3600
    watch.wait(10, 0, 1, 2)
    watch.wait(LIMITS.lease + LIMITS.redial + PASS, 0, 1)

    assert list(watch.lost) == [2]


@pytest.mark.parametrize("back", [0.5, 3.0, 30.0, 3600.0])
def test_a_clock_that_is_set_back_loses_no_cell_that_is_heard(back: float) -> None:
    watch = Watch(3)
    for _ in range(5):
        watch.wait(50, 0, 1, 2)
        watch.now -= back
        watch.look()
    watch.wait(100, 0, 1, 2)

    assert not watch.lost


def test_a_pause_of_half_a_lease_is_one_of_the_controllers_own_where_leases_are_short() -> None:
    before = begun(0.0)
    cells = [cell(number) for number in range(3)]
    assert look(before, cells, 6.0, 1.0, 3.5).started_at == 3.5
    assert look(before, cells, 6.0, 1.0, 2.0).started_at == 0.0
    assert look(before, cells, 600.0, 100.0, AWAY_SECONDS + 1).started_at == AWAY_SECONDS + 1


@given(
    st.lists(st.tuples(st.floats(0, 200), st.floats(0, 200)), max_size=40),
    st.floats(0, 200),
    st.floats(0, AWAY_SECONDS * 2),
)
def test_a_look_loses_nobody_heard_within_the_lease_and_nobody_among_many(
    known: list[tuple[float, float]], started: float, pause: float
) -> None:
    now = 200.0 + pause
    cells = [cell(number, heard=at, since=since) for number, (at, since) in enumerate(known)]
    before = Listening(started_at=started, since=started, looked_at=200.0)
    after = look(before, cells, LIMITS.lease, LIMITS.heartbeat, now)
    lost = [each for each in cells if isinstance(plan_cell(each, Seen(listening=after), LIMITS, now), Lose)]

    assert all(now - max(each.last_heartbeat, each.changed_at) > LIMITS.lease for each in lost)
    assert len(lost) <= max(5, len(cells) / 10)
    assert not lost or (pause <= AWAY_SECONDS and not after.mass)
    assert after.silent >= len(lost)
