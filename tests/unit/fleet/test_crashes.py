"""Whatever happens in whatever order, with a crash before or after any write or call: no pod ever has two instances,
and in the end no instance is left that nobody owns.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Coroutine
from typing import Any, cast

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cellwire.faults import Fault, Kind
from controller.choice.unavailable import LIFETIME
from controller.clouds.userdata import parse
from controller.fleet import plan
from controller.fleet.cell_store import CellStore
from controller.fleet.executor import Executor, LaunchFacts
from controller.fleet.joining import Admittance
from controller.fleet.plan import FleetLimits
from controller.fleet.pool.keeper import Pool, PoolSettings
from controller.fleet.pool.pool_plan import plan_pool
from controller.fleet.pool.warm_cells import Class, Versions, warm
from controller.fleet.reconciler import Reconciler
from controller.fleet.reports import Reports
from controller.fleet.room import CellConnections, Fleet
from controller.fleet.silence import LEASED, heard
from controller.model.cell import Cell, CellState
from controller.model.instance import Instance, InstanceState
from controller.model.names import CellName, InstanceId, PodUid
from controller.model.offer import Demand
from controller.model.pod import PodClaim, PodRef
from controller.model.transitions import LIVE, InvalidStep, Released
from controller.store.record_store import decode
from tests.support.fake_cloud import FakeCloud
from tests.support.fake_link import FakeLink
from tests.support.memory_store import MemoryStore

WARM = Class(name="warm", count=2, demand=Demand(cpu_millis=100, memory_mib=100))
PODS = ("a", "b", "c")
SIZES = ("small", "medium", "large")
CODES = ("", "InsufficientInstanceCapacity", "RequestLimitExceeded")
# Passes after which all must be well, a few seconds each: longer than any limit below.
ENOUGH = 20


class Crash(Exception):
    """The controller dies here."""


class Fuse:
    """Burns down at each write and call; at its end the controller dies."""

    def __init__(self) -> None:
        self.left = 0
        self.dead = False

    def burn(self, _: str = "") -> None:
        if self.left:
            self.left -= 1
            self.dead = not self.left
        if self.dead:
            raise Crash


class CrashingStore(MemoryStore):
    """May die before and after each write."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__()
        self._fuse = fuse

    async def put(self, kind: str, key: str, value: bytes, *, expected: int | None = None) -> int:
        self._fuse.burn()
        revision = await super().put(kind, key, value, expected=expected)
        self._fuse.burn()
        return revision

    async def delete(self, kind: str, key: str) -> None:
        self._fuse.burn()
        await super().delete(kind, key)
        self._fuse.burn()


class Tasks:
    """Tasks of one life, which end with it."""

    def __init__(self) -> None:
        self.all: list[asyncio.Task[Any]] = []

    def create_task(self, work: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self.all.append(task)
        return task

    async def end(self) -> None:
        for task in self.all:
            task.cancel()
        await asyncio.gather(*self.all, return_exceptions=True)
        self.all.clear()


class Machine(RuleBasedStateMachine):
    """A cloud, a store, and one life of the controller after another."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = 1000.0
        self.fuse = Fuse()
        self.store = CrashingStore(self.fuse)
        self.cloud = FakeCloud(lambda: self.now)
        self.cloud.before = self.fuse.burn
        self.cloud.after = self.answer
        self.answers_to_lose = 0
        self.wanted: dict[str, int] = {}
        # What owners write down before they give a cell back, and so repeat in their next life: pod and attempt.
        self.over: set[tuple[str, int]] = set()
        self.attempts: Counter[str] = Counter()
        self.keeps_warm = False
        self.joined: dict[InstanceId, CellName] = {}
        self.runner.run(self.begin())

    async def begin(self) -> None:
        self.tasks = Tasks()
        group = cast("asyncio.TaskGroup", self.tasks)
        self.link = FakeLink()
        self.book = CellStore(self.store, group, lambda: self.now)
        await self.book.load()
        home = LaunchFacts("test", lambda: ("10.0.0.1:1",), lambda: "sha256:" + "0" * 64, dict)
        self.act = Executor(self.book, self.cloud, home, b"secret", lambda: self.now, self.store.check_lead)
        buyable = self.act.buyable
        pool = Pool(PoolSettings(classes=(WARM,)), self.store, buyable, Versions, lambda: self.now, lambda: self.now)
        self.pool = pool
        limits = FleetLimits(lease=30, boot=60, launch=60, unclaimed=60, grace=10, terminate_again=5)
        self.reconciler = Reconciler(self.book, self.cloud, self.act, limits, pool, lambda: self.now, group)
        self.reconciler.wake = lambda name: None  # the machine plays the workers
        admittance = Admittance(self.book, (), 5.0, lambda: self.now)
        port = cast("CellConnections", self.link)
        hearing = Reports(self.book, port)
        self.fleet = Fleet(self.book, self.act, self.reconciler, pool, admittance, hearing, lambda: self.now)
        self.claims: dict[tuple[str, int], asyncio.Task[Cell]] = {}

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        async def guarded() -> None:
            with contextlib.suppress(Crash):
                await work
            if self.fuse.dead:
                await self.tasks.end()
                self.fuse.dead = False
                await self.begin()

        self.runner.run(guarded())

    @rule(pod=st.sampled_from(PODS))
    def want(self, pod: str) -> None:
        if pod not in self.wanted:
            self.attempts[pod] += 1
        self.wanted.setdefault(pod, self.attempts[pod])
        self.do(self.owners())

    @rule(pod=st.sampled_from(PODS))
    def unwant(self, pod: str) -> None:
        attempt = self.wanted.pop(pod, None)
        if attempt is not None:
            self.over.add((pod, attempt))
            self.do(self.owners())

    @rule()
    def reconcile(self) -> None:
        self.do(self.one_pass())

    @rule(wanted=st.booleans())
    def keep_warm(self, *, wanted: bool) -> None:
        self.keeps_warm = wanted

    @rule()
    def boot(self) -> None:
        self.do(self.agents())

    @rule(steps=st.sampled_from((1, 7, 40)))
    def wait(self, steps: int) -> None:
        for _ in range(steps):
            self.now += 1
            self.reconciler._listen(self.now)

    @rule(seconds=st.sampled_from((20.0, 400.0)))
    def freeze(self, seconds: float) -> None:
        """The controller stands still, and nobody hears the cells; it wakes and plans before it hears them."""
        alive = {cell.name for cell in self.fleet.list() if cell.state in LEASED and self.heard_of_late(cell)}
        self.now += seconds
        for name in alive:
            assert not isinstance(self.reconciler._next(name), plan.Lose), "a pause of our own loses nobody by lease"

    def heard_of_late(self, cell: Cell) -> bool:
        one = self.cloud.known.get(cell.instance) if cell.instance else None
        return one is not None and one.state is InstanceState.RUNNING and self.now - heard(cell) < 10

    @rule(size=st.sampled_from(SIZES), code=st.sampled_from(CODES))
    def refuse(self, size: str, code: str) -> None:
        self.cloud.refusals[size] = code

    @rule(count=st.integers(1, 2))
    def lose_answers(self, count: int) -> None:
        self.answers_to_lose = count

    @rule(seconds=st.sampled_from((0.0, 5.0)))
    def list_late(self, seconds: float) -> None:
        self.cloud.lag = seconds

    def answer(self, call: str) -> None:
        self.fuse.burn()
        if self.answers_to_lose:
            self.answers_to_lose -= 1
            raise Fault(Kind.UNAVAILABLE, call, "the answer was lost on the way")

    @rule(number=st.integers(0, 5))
    def instance_dies(self, number: int) -> None:
        alive = self.cloud.alive()
        if number < len(alive):
            self.cloud.end(alive[number].id, "spot")

    @rule(steps=st.integers(1, 8))
    def crash_soon(self, steps: int) -> None:
        self.fuse.left = steps

    @invariant()
    def no_pod_has_two_live_cells_or_two_instances(self) -> None:
        cells = [decode(stored.value, Cell) for (kind, _), stored in self.store.records.items() if kind == "cells"]
        live = [cell for cell in cells if cell.state in LIVE and cell.claim]
        pods = Counter((cell.claim.pod.uid, cell.claim.pod.attempt) for cell in live if cell.claim)
        assert max(pods.values(), default=0) <= 1, pods
        for cell in live:
            owned = [one for one in self.cloud.alive() if self.owns(cell, one)]
            assert len(owned) <= 1, (cell, owned)

    @invariant()
    def no_more_warm_cells_are_alive_than_are_wanted(self) -> None:
        cells = [decode(stored.value, Cell) for (kind, _), stored in self.store.records.items() if kind == "cells"]
        assert len(warm(cells)) <= WARM.count

    @staticmethod
    def owns(cell: Cell, instance: Instance) -> bool:
        return instance.id == cell.instance or instance.client_token.startswith(f"{cell.name}-")

    def teardown(self) -> None:
        try:
            self.ends_well()
        finally:
            self.runner.run(self.tasks.end())
            self.runner.close()

    def ends_well(self) -> None:
        self.fuse.left = 0
        self.answers_to_lose = 0
        self.cloud.refusals.clear()
        self.keeps_warm = False
        self.now += LIFETIME
        for _ in range(ENOUGH):
            self.now += 6
            self.do(self.owners())
            self.do(self.one_pass())
            self.do(self.agents())
        owners = sorted((cell.claim.pod.uid, cell.claim.pod.attempt) for cell in self.fleet.list() if cell.claim)
        assert owners == sorted(self.wanted.items()), "every wanted pod has its cell, and nobody else has"
        assert {cell.state for cell in self.fleet.list()} <= {CellState.CLAIMED}
        assert {one.id for one in self.cloud.alive()} == {cell.instance for cell in self.fleet.list()}
        for pod in list(self.wanted):
            self.unwant(pod)
        for _ in range(ENOUGH):
            self.now += 6
            self.do(self.one_pass())
        assert self.cloud.alive() == ()
        assert self.fleet.list() == ()

    async def owners(self) -> None:
        """Who owns pods asks for the cells of those that are wanted, and gives back those of pods that are over."""
        for pod, attempt in sorted(self.over):
            await self.release(pod, attempt)
            self.over.discard((pod, attempt))
        for pod, attempt in self.wanted.items():
            task = self.claims.get((pod, attempt))
            if task is None or task.done():
                ref = PodRef(uid=PodUid(pod), namespace="default", name=pod, attempt=attempt)
                claim = PodClaim(pod=ref, demand=Demand(cpu_millis=100, memory_mib=100))
                self.claims[pod, attempt] = self.tasks.create_task(self.fleet.claim(claim))
        await self.breathe()

    async def release(self, pod: str, attempt: int) -> None:
        task = self.claims.pop((pod, attempt), None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for cell in self.fleet.list():
            if cell.claim and (cell.claim.pod.uid, cell.claim.pod.attempt) == (pod, attempt):
                await self.fleet.release(cell.name, "deleted")

    async def one_pass(self) -> None:
        try:
            await self.reconciler.resync()
        except Fault:
            return
        for instance in self.reconciler._orphans:
            with contextlib.suppress(Fault):
                await self.reconciler.terminate([instance])
        await self.stock()
        for cell in self.fleet.list():
            await self.settle(cell.name)
        await self.breathe()

    async def stock(self) -> None:
        """As a full pass does: request what is missing, let go what is too much."""
        made = plan_pool(self.book.every(), (), Versions(), self.now)
        if self.keeps_warm:
            made = await self.pool.plan(self.book.every)
        for request in made.request:
            await self.book.add(self.fleet.new_warm(request))
        for name, why in made.surplus.items():
            with contextlib.suppress(InvalidStep):
                await self.book.change(name, Released(why))

    async def settle(self, name: CellName) -> None:
        for _ in range(20):
            action = self.reconciler._next(name)
            if action is None:
                return
            try:
                await self.reconciler.carry_out(name, action)
            except InvalidStep:
                continue
            except Fault:
                return
            if isinstance(action, plan.Terminate):
                return
        raise AssertionError(f"the plan of {self.book.get(name)} never ends")

    async def agents(self) -> None:
        """Every instance joins once, and stays connected."""
        for one in self.cloud.alive():
            if one.id not in self.joined:
                request = next(each for each in self.cloud.requests if each.client_token == one.client_token)
                if self.book.of_instance(one.id) is None:
                    continue  # it would be made to wait
                try:
                    admitted = await self.fleet.admit(
                        parse(request.user_data).token, one.id, self.cloud.identity(one.id)
                    )
                except Fault:
                    continue
                self.joined[one.id] = admitted.cell
            name = self.joined[one.id]
            self.book.heard(name, self.now)
            self.book.connect(name, connected=True)
        await self.breathe()

    async def breathe(self) -> None:
        """Let those who wait see what changed."""
        for _ in range(12):
            await asyncio.sleep(0)


Machine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCrashes = Machine.TestCase


def test_a_cell_whose_release_was_cut_off_by_a_crash_ends_once_its_owner_repeats_it() -> None:
    machine = Machine()
    machine.want("a")
    machine.reconcile()
    machine.boot()
    machine.crash_soon(1)
    machine.unwant("a")
    (kept,) = machine.fleet.list()
    assert kept.state is CellState.CLAIMED, "the controller died before the release was written down"
    machine.teardown()
