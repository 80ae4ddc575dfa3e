"""Metrics of the controller, for Prometheus. docs/metrics.md says what each is for; a test holds the two together.

What can be read off at a scrape is read then, and costs nothing between; what happens is observed as it does.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import msgspec
from prometheus_client import Counter as CounterOf
from prometheus_client import Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from controller.api.process_metrics import PREFIX, ProcessMetrics, counter, gauge, of_ways
from controller.api.stages import STAGES, Stages
from controller.clouds.protocol import Cloud
from controller.fleet.cells import Telling
from controller.model import cost
from controller.model.cell import Cell, CellState
from controller.sandboxes.ways import Ways

# Heartbeats that a connected cell may miss before it is late.
MISSED = 2
_STAGE_SECONDS = (0.1, 0.5, 1, 2, 3, 5, 7.5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)
OTHERS = "(others)"
# Cells that no pod has yet.
NO_POD = "(none)"
UNKNOWN = "(unknown)"
# Labels are few: what users and clouds name freely must not become ever more series of a metric. Whoever sums up loses
# nothing: what is too much is added to a row whose label is `OTHERS`.
MOST_NAMESPACES, MOST_TYPES, MOST_ROWS = 40, 40, 400
MOST_CODES = 40


@dataclass(frozen=True, slots=True)
class ScrapeSources:
    """Sources of a scrape. `heartbeat` tells seconds, as cells are told."""

    cells: Telling
    cloud: Cloud
    heartbeat: Callable[[], float]
    ways: Ways
    version: str = ""
    untrue: Counter[str] = field(default_factory=Counter[str])
    """See `controller.link.port.Link.untrue`."""


class Metrics(ProcessMetrics):
    """What a controller observes as it happens, beside what every process does."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        super().__init__()
        self._now = now
        self._stages = Histogram(
            f"{PREFIX}_launch_stage_seconds",
            "How long each stage of a cell's start took.",
            ("stage",),
            buckets=_STAGE_SECONDS,
            registry=self.registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)
        self._lost = CounterOf(
            f"{PREFIX}_cells_lost", "Cells lost, by what they were doing.", ("stage",), registry=self.registry
        )

    def measure(self, measured: ScrapeSources) -> None:
        """From now on a scrape reads this off too."""
        self.registry.register(_ControllerCollector(measured, self._now))

    def changed(self, cell: Cell, stages: Stages) -> None:
        """A cell is in another state than it was."""
        for stage, seconds in stages.took(cell):
            self._stages.labels(stage).observe(seconds)
        if stage := stages.lost_at(cell):
            self._lost.labels(stage).inc()


class _ControllerCollector(Collector):
    """Reads off what others keep anyway."""

    def __init__(self, measured: ScrapeSources, now: Callable[[], float]) -> None:
        self._measured = measured
        self._now = now
        self._codes, self._outcomes = Codes(), Codes()

    def collect(self) -> Iterable[Metric]:
        known = self._measured.cells.list()
        yield gauge("info", "Version and cloud of the controller; always 1.", ("version", "cloud"), self._info())
        yield from self._of_cells(known)
        yield from self._of_pool()
        yield counter(
            "launch_refusals",
            "Offers and launches that the cloud refused, by its code or else the kind of fault.",
            ("code",),
            {(code,): count for code, count in self._codes.counted(self._measured.cells.refusals()).items()},
        )
        yield from self._of_calls()
        yield from self._of_streams()

    def _info(self) -> Mapping[tuple[str, ...], float]:
        return {(self._measured.version, self._measured.cloud.name): 1}

    def _of_cells(self, known: tuple[Cell, ...]) -> Iterable[Metric]:
        yield gauge(
            "usd_per_hour",
            "What the instances that run cost, at the prices of their launches.",
            ("namespace", "launch_type", "instance_type"),
            {(row.namespace, row.launch_type, row.instance_type): usd for row, usd in spend(known).items()},
        )
        states = Counter(cell.state for cell in known)
        counts = {(state.value,): states[state] for state in CellState if state is not CellState.GONE}
        yield gauge("cells", "Cells by state.", ("state",), counts)
        connected = [cell for cell in known if cell.connected]
        said = [vitals for cell in connected if (vitals := self._measured.cells.vitals(cell.name)) is not None]
        memory = sum(each.memory_bytes for each in said)
        yield gauge("cells_memory_bytes", "Memory in use on all connected cells, as they tell.", (), {(): memory})
        cpu = sum(each.cpu_millis for each in said) / 1000
        yield gauge("cells_cpus", "CPUs in use on all connected cells, as they tell.", (), {(): cpu})
        yield gauge("cells_connected", "Cells whose connection stands.", (), {(): len(connected)})
        oldest = self._now() - MISSED * self._measured.heartbeat()
        # After a restart of the controller a cell has not been heard yet: that is no lateness of its own.
        late = sum(0 < cell.last_heartbeat < oldest for cell in connected)
        yield gauge("heartbeats_late", f"Connected cells silent for over {MISSED} heartbeats.", (), {(): late})

    def _of_pool(self) -> Iterable[Metric]:
        pool = self._measured.cells.pool()
        yield counter(
            "pool_pods",
            "Pods that a class of warm cells would do for: hit found one ready, waited one booting, miss none.",
            ("class", "outcome"),
            {
                (each.of, outcome): count
                for each in pool
                for outcome, count in (("hit", each.hits), ("waited", each.waited), ("miss", each.misses))
            },
        )
        yield gauge(
            "pool_cells",
            "Warm cells of a class: how many are wanted, how many there are, how many of those are ready.",
            ("class", "what"),
            {
                (each.of, what): count
                for each in pool
                for what, count in (("wanted", each.wanted), ("warm", each.warm), ("ready", each.ready))
            },
        )
        costs = {(each.of,): each.usd_per_hour for each in pool}
        yield gauge("pool_usd_per_hour", "What the warm cells of a class cost.", ("class",), costs)
        failed = {(each.of,): each.failed for each in pool}
        yield counter("pool_failures", "Warm cells that were lost before a pod came.", ("class",), failed)

    def _of_calls(self) -> Iterable[Metric]:
        cloud = self._measured.cloud
        calls: Counter[tuple[str, ...]] = Counter()
        throttles: Counter[tuple[str, ...]] = Counter()
        for each in cloud.called():
            calls[each.service, each.action, self._outcomes.label(each.outcome)] += each.count
            throttles[each.service, each.action] += each.count if each.throttled else 0
        labels = ("service", "action")
        yield counter("cloud_calls", "Calls of the cloud's API.", (*labels, "outcome"), calls)
        yield counter("cloud_throttles", "Those that were turned away for being one too many.", labels, throttles)

    def _of_streams(self) -> Iterable[Metric]:
        yield from of_ways(self._measured.ways)
        untrue = {(outcome,): self._measured.untrue[outcome] for outcome in ("ended", "kept-out")}
        yield counter("cells_not_believed", "Connections of cells that were not believed.", ("outcome",), untrue)


class Spend(msgspec.Struct, frozen=True, order=True):
    """A row of spending: USD per hour are summed by namespace, launch type and instance type."""

    namespace: str
    launch_type: str
    instance_type: str


def spend(cells: Iterable[Cell]) -> dict[Spend, float]:
    """USD per hour of what runs now, in at most `MOST_ROWS` rows and some for the rest."""
    rows: defaultdict[Spend, float] = defaultdict(float)
    for cell in cells:
        if cell.instance is not None:
            namespace = cell.claim.pod.namespace if cell.claim else NO_POD
            offer = cell.offer
            bought = (offer.launch_type.value, offer.shape.type) if offer is not None else (UNKNOWN, UNKNOWN)
            rows[Spend(namespace, *bought)] += cost.usd_per_hour(cell)
    namespaces = _dearest(rows, "namespace", MOST_NAMESPACES)
    types = _dearest(rows, "instance_type", MOST_TYPES)
    folded: defaultdict[Spend, float] = defaultdict(float)
    for row, usd in rows.items():
        namespace = row.namespace if row.namespace in namespaces else OTHERS
        type_name = row.instance_type if row.instance_type in types else OTHERS
        folded[Spend(namespace, row.launch_type, type_name)] += usd
    return _capped(folded)


def _capped(rows: Mapping[Spend, float]) -> dict[Spend, float]:
    """The dearest rows as they are, the others without their instance type."""
    ordered = sorted(rows, key=lambda row: (-rows[row], row))
    kept = defaultdict(float, {row: rows[row] for row in ordered[:MOST_ROWS]})
    for row in ordered[MOST_ROWS:]:
        kept[Spend(row.namespace, row.launch_type, OTHERS)] += rows[row]
    return dict(kept)


def _dearest(rows: Mapping[Spend, float], label: str, most: int) -> frozenset[str]:
    """The values of a label on which most is spent."""
    totals: defaultdict[str, float] = defaultdict(float)
    for row, usd in rows.items():
        totals[getattr(row, label)] += usd
    return frozenset(sorted(totals, key=lambda value: (-totals[value], value))[:most])


class Codes:
    """Codes of errors as a label: the first `MOST_CODES` that come, and `OTHERS` from then on."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def label(self, code: str) -> str:
        """What to count a code under."""
        if code in self._known or len(self._known) < MOST_CODES:
            self._known.add(code)
            return code
        return OTHERS

    def counted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """Counts by label."""
        labelled: Counter[str] = Counter()
        for code, count in counts.items():
            labelled[self.label(code)] += count
        return dict(labelled)
