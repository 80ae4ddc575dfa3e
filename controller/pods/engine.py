"""The pods room: declared pods, kept running on cells, where there is no kubelet.

`running` takes up what an earlier life left, and hands on to each pod's worker what is heard of its cell. What the API
may ask of pods that run is here; how they are created and deleted is in `pod_keeper`, how one runs in `worker`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from cellwire.stream.counted import CountedBackend, Sessions
from cellwire.stream.remote import RemoteBackend
from cellwire.stream.session import Backend
from controller.fleet.cells import Cells
from controller.model.cell import CellState
from controller.model.offer import Demand
from controller.objects.admission import How
from controller.objects.collection import Objects
from controller.objects.fields import Json
from controller.objects.kinds import EVENTS
from controller.objects.library import Library
from controller.objects.pod_demand import spec_of
from controller.objects.resource import Resource
from controller.objects.schema.containers import AnyContainer
from controller.objects.schema.pods import PodSpec
from controller.objects.stored import absent
from controller.objects.tokens import Tokens
from controller.pods.delivery import ClusterIdentity
from controller.pods.events import Recorder
from controller.pods.kind import PODS
from controller.pods.lifecycle import container_named, containers_of
from controller.pods.log_files import CopiedLog, Logs
from controller.pods.pod_adoption import OWNER
from controller.pods.pod_keeper import PodKeeper
from controller.pods.pod_records import PodRecords
from controller.pods.run import PodRun, Running
from controller.pods.surroundings import ImageLookup, Surroundings
from controller.pods.usage import Usage, Usages
from controller.pods.variables import VariableSources
from controller.sandboxes.following import LogKeeping
from controller.sandboxes.progress import Progress
from controller.sandboxes.records import ContainerRecord
from controller.sandboxes.room import running as sandboxes_room
from controller.sandboxes.ways import Ways
from hostkit.tasks import Finishing

# The states of a cell that has an instance, and is not on its way out.
HAD = frozenset({CellState.BOOTING, CellState.READY, CellState.CLAIMED})


class Pods:
    """What the API may ask of pods: which there are, and the containers, sessions, logs and use of each."""

    def __init__(self, around: Surroundings, keeper: PodKeeper, usages: Usages, sessions: Sessions) -> None:
        self._sessions = sessions
        self.objects = keeper.objects
        self._around = around
        self._keeper = keeper
        self._usages = usages
        self._begun: list[asyncio.Task[None]] = []

    @property
    def cells(self) -> Cells:
        """The cells, for showing them as nodes."""
        return self._around.cells

    @property
    def tokens(self) -> Tokens:
        """The tokens of pods, made and read."""
        return self._around.identity.tokens

    @property
    def teller(self) -> Recorder:
        """The recorder of events."""
        return self._around.recorder

    async def start(self, tasks: asyncio.TaskGroup) -> None:
        """Take up the pods of an earlier life."""
        await self._around.recorder.load()
        self._begun.append(tasks.create_task(self._around.recorder.work(), name="events of pods"))
        uids = await self._around.records.load()
        self._around.room.memory.listen(self._heard)
        self._around.room.following.take_up(logs=LogKeeping(self._around.logs.bound, self._log_incomplete))
        for uid in uids:
            self._keeper.work_on(uid)
        self._begun.append(tasks.create_task(self._watch_cells(), name="pods watch cells"))
        self._begun.append(tasks.create_task(self._tell_progress(), name="pods hear cells"))

    def stop(self) -> None:
        """End all tasks; pods run on without us."""
        for task in self._begun:
            task.cancel()
        self._keeper.stop()

    def _heard(self, event: cri.ContainerEventResponse) -> None:
        """Something has happened on a pod's cell."""
        if worker := self._keeper.worker(event.pod_sandbox_status.metadata.uid):
            worker.changed()

    def _log_incomplete(self, container: ContainerRecord, said: str) -> None:
        record = self._around.records.get(self._around.room.memory.sandbox(container.sandbox).uid)
        if record is not None:
            name = cri.ContainerStatus.FromString(container.status).metadata.name
            self._around.recorder.warning(record.shown, "LogsIncomplete", f"log of container {name}: {said}", name)

    async def _watch_cells(self) -> None:
        """Tell a pod's worker that its cell has an instance, why it does not come, that the fleet gives it up, or that
        the cloud will take its instance.
        """
        async for cell in self._around.cells.watch():
            worker = self._keeper.worker(cell.claim.pod.uid) if cell.claim else None
            self._keeper.release_if_left(cell)
            if worker is not None and cell.state in HAD:
                worker.launched(cell)
            if worker is not None and cell.announced is not None:
                worker.announced(cell)
            if cell.state in (CellState.LOST, CellState.GONE):
                for one in self._keeper.workers():
                    one.cell_lost(cell.name, cell.reason or f"the cell is {cell.state.value}")
            elif cell.state is CellState.LAUNCHING and cell.reason and cell.claim is not None:
                self._late(cell.claim.pod.uid, cell.reason)
            elif cell.state is CellState.REQUESTED and cell.reason and cell.claim is not None:
                self._late(cell.claim.pod.uid, f"{cell.reason}; it goes on being tried")

    async def _tell_progress(self) -> None:
        """Tell on the pod how far pulls are, and that its cell is not believed."""
        progress = Progress()
        async for name, happened in self._around.cells.events():
            cell, news = self._around.cells.get(name), progress.news(name, happened, self._around.now())
            pod = cell.claim.pod if cell is not None and cell.claim is not None else None
            one = self.objects.get(pod.namespace, pod.name) if pod is not None else None
            if news is None or pod is None or one is None or one["metadata"]["uid"] != pod.uid:
                continue
            kind, reason, message = news
            (self.teller.warning if kind == "Warning" else self.teller.normal)(one, reason, message)

    def _late(self, uid: str, why: str) -> None:
        if worker := self._keeper.worker(uid):
            worker.cell_late(why)

    def find(self, namespace: str, name: str) -> Json:
        """One pod. Raises Fault NOT_FOUND."""
        pod = self.objects.get(namespace, name)
        if pod is None:
            raise absent(PODS, name)
        return pod

    def guard(self, resource: Resource, namespace: str, one: Json, how: How) -> None:
        """Says at the creation of a pod what can never be met. Raises Fault INVALID."""
        if resource is not PODS:
            return
        self._around.demand(spec_of(one["spec"]))
        name, asked = one["spec"]["serviceAccountName"], one["spec"].get("automountServiceAccountToken")
        if name != "default" and self._around.library.objects("serviceaccounts").get(namespace, name) is None:
            how.warn(
                f'spec.serviceAccountName: there is no service account "{name}" here: the pod runs without its token'
            )
        elif not self._around.identity.host and (asked or (asked is None and name != "default")):
            how.warn("spec.serviceAccountName: the token is mounted, but no pod can reach this API (api.pods_address)")

    def run_of(self, pod: Json) -> PodRun:
        """The run of a pod, as it is known."""
        record = self._around.records.get(pod["metadata"]["uid"])
        return record.run if record else PodRun()

    def container(self, pod: Json, name: str) -> str:
        """The name of the container meant by `name`, the first (or annotated default) where it is empty."""
        if not name:
            annotations: Json = pod["metadata"].get("annotations") or {}
            return annotations.get("kubectl.kubernetes.io/default-container") or pod["spec"]["containers"][0]["name"]
        declared = self._declared(pod)
        if container_named(declared, name) is None:
            listed = " ".join(one.name for one, _ in containers_of(declared))
            cause = f"container {name} is not valid for pod {pod['metadata']['name']}, which has [{listed}]"
            raise Fault(Kind.INVALID, f'pod "{pod["metadata"]["name"]}"', cause, reason="BadRequest")
        return name

    def declared(self, pod: Json, name: str) -> AnyContainer | None:
        """The container of this name, as the pod declares it."""
        return container_named(self._declared(pod), name)

    def _declared(self, pod: Json) -> PodSpec:
        record = self._around.records.get(pod["metadata"]["uid"])
        return record.pod.spec if record else PodSpec()

    def running_container(self, pod: Json, name: str) -> str:
        """The id of a running container. Raises Fault where it does not run."""
        one = self.run_of(pod).of(self.container(pod, name))
        if not isinstance(one.state, Running):
            cause = f"container {one.name} of the pod is not running"
            raise Fault(Kind.INVALID, f'pod "{pod["metadata"]["name"]}"', cause, reason="BadRequest")
        return one.id

    def backend(self, pod: Json) -> Backend:
        """Where sessions with a pod happen: its cell."""
        run = self.run_of(pod)
        if not run.cell or run.phase:
            cause = f"pod is not running (phase {pod['status']['phase']})"
            raise Fault(Kind.INVALID, f'pod "{pod["metadata"]["name"]}"', cause, reason="BadRequest")
        return CountedBackend(RemoteBackend(lambda: self._around.cells.channel(run.cell)), self._sessions)

    async def used(self, pods: Sequence[Json]) -> list[tuple[Json, Usage]]:
        """What those of these pods use that run."""
        return await self._usages.of(pods, self.run_of)

    def log_file(self, pod: Json, name: str, *, previous: bool) -> CopiedLog:
        """A container's log. Raises Fault where there is none (yet)."""
        run, wanted = self.run_of(pod), self.container(pod, name)
        path = self._around.logs.file(pod, run, wanted, previous=previous)
        copied, known = run.of(wanted).id, self._around.room.memory.log_over
        ended = not isinstance(run.of(wanted).state, Running)
        return CopiedLog(path, lambda: run.released or previous or known(copied) or not path.exists(), ended)


@asynccontextmanager
async def running(
    cells: Cells,
    library: Library,
    identity: ClusterIdentity,
    ways: Ways,
    *,
    folder: Path,
    demand_of: Callable[[PodSpec], Demand],
    images: ImageLookup | None = None,
) -> AsyncGenerator[Pods]:
    """Run all declared pods. Their logs are below `folder`; `demand_of` says what a pod's spec needs of a cell,
    `images` what can be known of its images beforehand.

    Leaving does not end pods: they run on, and the next life takes them up.
    """
    now, images = library.now, images or ImageLookup()
    objects, events = Objects(library.revisions), Objects(library.revisions)
    async with (
        sandboxes_room(cells, library.store, ways, OWNER, images.access) as room,
        asyncio.TaskGroup() as tasks,
    ):
        around = Surroundings(
            cells=cells,
            room=room,
            records=PodRecords(library.store, objects, Finishing(tasks), now),
            recorder=Recorder(events, library.store, now),
            logs=Logs(folder / "logs", ways.log_bytes),
            supervisor=ways.supervisor,
            demand=demand_of,
            images=images,
            library=library,
            identity=identity,
            variables=VariableSources(
                library.lookup,
                lambda namespace: library.objects("services").list(namespace),
                identity.host,
                identity.port,
            ),
            now=now,
        )
        usages = Usages(cells, now)
        keeper = PodKeeper(around, objects, tasks, usages.forget)
        pods = Pods(around, keeper, usages, ways.sessions)
        library.keep(PODS, keeper)
        library.keep(EVENTS, around.recorder)
        library.guards.append(pods.guard)
        try:
            await pods.start(tasks)
            yield pods
        finally:
            pods.stop()
