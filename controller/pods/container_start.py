"""Starting one container of a pod on its cell: image, files, create, start; and what its end means.

Every step writes what it is about to do before it does it, so that a controller that was killed finds the container
that it made. Failures become states of the container, never exceptions.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import stat
from collections.abc import Callable, Mapping

import structlog
from msgspec.structs import replace

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault
from controller.choice import architectures
from controller.model.names import CellName
from controller.objects.schema.containers import AnyContainer, EphemeralContainer, SecurityContext
from controller.objects.schema.pods import PodSecurityContext, PodSpec
from controller.pods import hosts, lifecycle, volume_contents
from controller.pods.config_data import Missing
from controller.pods.delivery import Delivery
from controller.pods.file_transfer import put_folders, put_tree
from controller.pods.log_files import KEPT_STARTS
from controller.pods.restarting import NEVER, Policy
from controller.pods.run import ContainerRun, PodRecord, PodRun, Running, Terminated, Waiting
from controller.pods.stopping import Hand, grace_left, stop_all
from controller.pods.surroundings import Surroundings
from controller.pods.translate import (
    Folder,
    container_config,
    container_folder,
    created_folders,
    sandbox_config,
)
from controller.pods.variables import environment
from controller.pods.volume_contents import Entry
from controller.sandboxes import reducer
from controller.sandboxes.cell_calls import is_over
from controller.sandboxes.pulling import pull
from controller.sandboxes.records import SandboxRecord

log = structlog.get_logger()
_TERMINATION_FILE, _HOSTS_FILE = stat.S_IFREG | 0o666, stat.S_IFREG | 0o644
_OPEN_FOLDER = stat.S_IFDIR | 0o777


class _Refused(Exception):
    """The container cannot be had: reason and cause, as they will show."""

    def __init__(self, reason: str, cause: str) -> None:
        self.reason = reason
        self.cause = cause


class PodContainers:
    """The containers of one pod on one cell."""

    def __init__(self, uid: str, cell: CellName, around: Surroundings) -> None:
        self._uid = uid
        self._cell = cell
        self._around = around
        self._room = around.room
        self._records = around.records
        self._recorder = around.recorder
        self._now = around.now
        self._early: dict[str, asyncio.Future[cri.Image | Fault]] = {}
        self.there = around.room.containers.on(cell)
        self.hand = Hand(uid, cell, around, self.there)
        self.delivery = Delivery(uid, self.there, around.records, around.recorder, around.library, around.identity)

    @property
    def _record(self) -> PodRecord:
        record = self._records.get(self._uid)
        if record is None:
            raise KeyError(self._uid)
        return record

    def whose(self) -> str:
        """The pod as the kubelet writes it in back-off messages."""
        metadata = self._record.pod.metadata
        return f"{metadata.name}_{metadata.namespace}({self._uid})"

    async def _set(self, name: str, change: Callable[[ContainerRun], ContainerRun]) -> ContainerRun:
        def apply(run: PodRun) -> PodRun:
            return run.having(change(run.of(name)))

        return (await self._records.run(self._uid, apply)).of(name)

    async def pull_early(self) -> None:
        """Have the pod's images on the cell, the first that is wanted first, while its sandbox and volumes are made.

        Each container's start takes what came of its image, once; what failed is told then.
        """
        record, loop = self._record, asyncio.get_running_loop()
        containers = [one for one, _ in lifecycle.containers_of(record.pod.spec)]
        shown = [each for one in containers for each in volume_contents.image_volumes(record.pod.spec, one).values()]
        wanted = [one for one in (*containers, *shown) if one.imagePullPolicy != "Never"]
        first: dict[str, AnyContainer] = {}
        for container in wanted:
            first.setdefault(container.image, container)
        # A start takes its image's entry away, maybe before this loop is there: the futures are held here too.
        outcomes = {image: loop.create_future() for image in first}
        self._early = dict(outcomes)
        for image, container in first.items():
            try:
                outcomes[image].set_result(await self._found(record, container))
            except Fault as fault:
                outcomes[image].set_result(fault)

    async def start(self, name: str) -> str:
        """Start a container; returns its id, or "" where it cannot be started now."""
        record = self._record
        container = lifecycle.container_named(record.pod.spec, name)
        if container is None:
            return ""
        try:
            image = await self._image(record, container)
            self._check_user(record.pod.spec, container, image)
            volumes = volume_contents.image_volumes(record.pod.spec, container)
            shown = {name: (await self._image(record, one)).id for name, one in volumes.items()}
            return await self._create_and_start(container, image, shown)
        except _Refused as refusal:
            reason, cause = refusal.reason, refusal.cause
            self._recorder.warning(record.shown, "Failed", f"Error: {reason}: {cause}", name)
            await self._set(name, lambda one: lifecycle.not_prepared(one, reason, cause, self._now()))
            return ""

    def tell_backoffs(self, before: PodRun, after: PodRun) -> None:
        """Say of whose images no pull is tried for a while, as of now."""
        record = self._record
        for container in lifecycle.backing_off(record.pod.spec, before, after):
            said = f'Back-off pulling image "{container.image}"'
            self._recorder.normal(record.shown, "BackOff", said, container.name)

    async def _image(self, record: PodRecord, container: AnyContainer) -> cri.Image:
        reference = container.image
        early = self._early.pop(reference, None)
        try:
            outcome = await early if early is not None else await self._found(record, container)
            if isinstance(outcome, Fault):
                raise outcome
        except Fault as fault:
            said = f'Failed to pull image "{reference}": {fault}'
            self._recorder.warning(record.shown, "Failed", said, container.name)
            raise _Refused("ErrImagePull", str(fault)) from fault
        if early is not None:
            await self._room.pulling.allow(record.run.sandbox, reference, outcome.id)
        return outcome

    async def _found(self, record: PodRecord, container: AnyContainer) -> cri.Image:
        """The image on the cell, pulled where the pod's policy says so. One that was on the cell before is its pod's
        only by a pull, which then fetches nothing, but where no pull is wanted. Raises Fault.
        """
        reference, name, policy = container.image, container.name, container.imagePullPolicy
        sandbox = self._room.memory.sandbox_of_pod(self._uid, record.run.attempt)
        known = reference if policy == "Never" else sandbox.pulled.get(reference) if sandbox is not None else None
        if policy != "Always" and known is not None and (present := await self.there.image(known)) is not None:
            said = f'Container image "{reference}" already present on machine'
            self._recorder.normal(record.shown, "Pulled", said, name)
            return present
        if policy == "Never":
            cause = f'Container image "{reference}" is not present with pull policy of Never'
            raise _Refused("ErrImageNeverPull", cause)
        return await self._pull(record, container, sandbox)

    async def _pull(self, record: PodRecord, container: AnyContainer, sandbox: SandboxRecord | None) -> cri.Image:
        reference, name = container.image, container.name
        began = self._now()
        self._recorder.normal(record.shown, "Pulling", f'Pulling image "{reference}"', name)
        place = architectures.locate(reference)
        accounts = volume_contents.docker_logins(self.delivery.pull_secrets(), place.host, place.repository)
        config = sandbox_config(record.pod, record.run, self.delivery.domain)
        asked = cri.PullImageRequest(image=cri.ImageSpec(image=reference), sandbox_config=config)
        if sandbox is not None:
            pulled = await self._room.pulling.pull(self.there, sandbox, asked, accounts)
        else:
            pulled = await pull(self.there, asked, self._room.pulling.access, accounts)
        image = await self.there.image(pulled) or cri.Image(id=pulled)
        took = f"in {self._now() - began:.3f}s. Image size: {image.size} bytes."
        self._recorder.normal(record.shown, "Pulled", f'Successfully pulled image "{reference}" {took}', name)
        return image

    def _check_user(self, spec: PodSpec, container: AnyContainer, image: cri.Image) -> None:
        """Hold runAsNonRoot, which no runtime checks."""
        own = container.securityContext or SecurityContext()
        shared = spec.securityContext or PodSecurityContext()
        if not (shared.runAsNonRoot if own.runAsNonRoot is None else own.runAsNonRoot):
            return
        user = shared.runAsUser if own.runAsUser is None else own.runAsUser
        if user is None and image.username:
            cause = f'container has runAsNonRoot and image has non-numeric user ("{image.username}"), cannot verify'
            raise _Refused("CreateContainerConfigError", cause)
        if (image.uid.value if user is None else user) == 0:
            whose = "image will run as root" if user is None else "container's runAsUser breaks non-root policy"
            raise _Refused("CreateContainerConfigError", f"container has runAsNonRoot and {whose}")

    async def _create_and_start(self, container: AnyContainer, image: cri.Image, shown: Mapping[str, str]) -> str:
        name = container.name
        begun = await self._set(name, lambda one: lifecycle.begun(one, self._now()))
        record = self._record
        start = begun.starts - 1
        sandbox = sandbox_config(record.pod, record.run, self.delivery.domain)
        try:
            folder = container_folder(self._uid, name, start)
            variables = environment(record.pod, container, record.run, self._around.variables)
            full = self.delivery.with_account(container)
            await put_tree(self.there, folder, self._files(record))
            for created in created_folders(record.pod, full):
                await put_folders(self.there, created, (Folder(".", _OPEN_FOLDER, 0),))
            config = container_config(record.pod, full, variables, image.id, start, shown)
            if isinstance(container, EphemeralContainer) and (target := container.targetContainerName):
                options = config.linux.security_context.namespace_options
                options.pid, options.target_id = cri.TARGET, record.run.of(target).id
            asked = cri.CreateContainerRequest(pod_sandbox_id=record.run.sandbox, config=config, sandbox_config=sandbox)
            log, message = self._around.logs.begin(self._uid, name, start)
            made = await self._room.containers.create(
                asked, config, log_path=str(log), copies={f"{folder}/termination-log": str(message)}
            )
            await self._room.memory.stored(made)
        except Missing as missing:
            raise _Refused("CreateContainerConfigError", str(missing)) from missing
        except Fault as fault:
            told = fault.reason == "CreateContainerConfigError"
            raise _Refused(fault.reason if told else "CreateContainerError", str(fault)) from fault
        digests = list(image.repo_digests)
        image_id = digests[0] if digests else image.id
        await self._set(
            name,
            lambda one: replace(lifecycle.made(one, made), image=container.image, image_id=image_id),
        )
        self._recorder.normal(record.shown, "Created", f"Created container: {name}", name)
        return made if await self._started(container, made) else ""

    def _files(self, record: PodRecord) -> list[Entry]:
        """The files that belong to one start of a container."""
        listed = [Entry("termination-log", _TERMINATION_FILE)]
        if hosts.needs_file(record.pod.spec):
            data = hosts.hosts_file(record.pod, record.run, self.delivery.domain)
            listed.append(Entry("etc-hosts", _HOSTS_FILE, data=data))
        return listed

    async def _started(self, container: AnyContainer, made: str) -> bool:
        name, shown = container.name, self._record.shown
        try:
            await self._room.containers.start(made)
        except Fault as fault:
            cause = str(fault)
            self._recorder.warning(shown, "Failed", f"Error: {cause}", name)
            policy = self._policy(name)
            await self._set(name, lambda one: lifecycle.not_started(one, cause, self._now(), policy=policy))
            return False
        self._recorder.normal(shown, "Started", f"Started container {name}", name)
        await self.hand.hook(container, made, "postStart", math.inf)
        at = self._status(made).started_at / 1e9 or self._now()
        await self._set(name, lambda one: running(container, one, at))
        await self._clear(name)
        return True

    async def _clear(self, name: str) -> None:
        """Remove what was of starts before the last one; as with a kubelet, that one is kept."""
        kept = self._record.run.of(name).starts - 1 - KEPT_STARTS
        for status in self._made():
            if status.metadata.name == name and status.metadata.attempt <= kept:
                try:
                    await self._room.containers.remove(status.id)
                except Fault as fault:
                    log.info("a container that has ended is removed later", container=status.id, cause=str(fault))

    def _made(self) -> list[cri.ContainerStatus]:
        """All containers of the sandbox that are known, of whatever start."""
        known = self._room.memory.containers_of(self._record.run.sandbox)
        return [cri.ContainerStatus.FromString(one.status) for one in known]

    def _status(self, made: str) -> cri.ContainerStatus:
        """What is known of a container; as one that its cell knows no more where there is nothing."""
        if self._room.memory.knows(made):
            return cri.ContainerStatus.FromString(self._room.memory.container(made).status)
        return reducer.lost(
            cri.ContainerStatus(id=made), "nothing is known of this container", self._now(), reducer.UNKNOWN
        )

    def _policy(self, name: str) -> Policy:
        spec = self._record.pod.spec
        for container, init in lifecycle.containers_of(spec):
            if container.name == name:
                return lifecycle.policy_of(spec, container, init=init)
        return NEVER

    async def refresh(self, name: str, *, stopped: bool = False) -> None:
        """Take in the end of a container that ran when last seen. One that ended with its cell is left to that.

        One that was `stopped` with its pod is not started again, nor said to be.
        """
        one = self._record.run.of(name)
        if not isinstance(one.state, Running) or not one.id:
            return
        if not self._room.memory.knows(one.id):
            with contextlib.suppress(Fault):  # as an older build has left it: it must not run beside the next
                await self.there.remove_container(one.id)
        status = self._status(one.id)
        if status.state != cri.CONTAINER_EXITED or is_over(self._around.cells.get(self._cell)):
            return
        state = self._end_of(name, one, status)
        policy, whose = NEVER if stopped else self._policy(name), self.whose()
        after = await self._set(name, lambda now: lifecycle.ended(now, state, policy=policy, whose=whose))
        if isinstance(after.state, Waiting):
            said = f"Back-off restarting failed container {name} in pod {whose}"
            self._recorder.warning(self._record.shown, "BackOff", said, name)

    async def renew(self) -> None:
        """Stop each container whose image was changed since it started; it starts anew with the other one."""
        record = self._record
        spec = record.pod.spec
        for container, _ in lifecycle.containers_of(spec):
            name, one = container.name, record.run.of(container.name)
            if not isinstance(one.state, Running) or not one.id:
                continue
            # An older build may not have written down of which image it is.
            image = one.image or self._status(one.id).image.user_specified_image
            if image in ("", container.image):
                continue
            said = f"Container {name} definition changed, will be restarted"
            await self.hand.stop(name, grace_left(lifecycle.grace_of(spec)), why=said)
            await self.refresh(name)
            if isinstance(self._record.run.of(name).state, Running):
                continue
            await self._set(name, lambda now: lifecycle.renewed(now, self._now()))

    async def stop_all(self, grace: Callable[[], float]) -> None:
        """Stop all containers, each within `grace()` s from now, in Kubernetes' order; their ends are known then."""
        await stop_all(self.hand, grace)
        for container, _ in lifecycle.containers_of(self._record.pod.spec):
            await self.refresh(container.name, stopped=True)

    def _end_of(self, name: str, one: ContainerRun, status: cri.ContainerStatus) -> Terminated:
        began = one.state.started_at if isinstance(one.state, Running) else 0.0
        return Terminated(
            exit_code=status.exit_code,
            reason=status.reason or ("Completed" if status.exit_code == 0 else "Error"),
            message=self._message(name, one, status),
            started_at=status.started_at / 1e9 or began,
            finished_at=status.finished_at / 1e9 or self._now(),
            container_id=one.id,
        )

    def _message(self, name: str, one: ContainerRun, status: cri.ContainerStatus) -> str:
        container = lifecycle.container_named(self._record.pod.spec, name)
        written = self._around.logs.message(self._uid, name, one.starts - 1)
        fallback = container is not None and container.terminationMessagePolicy == "FallbackToLogsOnError"
        if not written and fallback and status.exit_code != 0:
            return self._around.logs.tail(self._around.logs.path(self._uid, name, one.starts - 1))
        return written or status.message

    async def adopt(self) -> None:
        """After a restart of the controller: find the containers that were made and not written down in the pod."""
        run = self._record.run
        found = {(one.metadata.name, one.metadata.attempt): one for one in self._made()}
        for container, _ in lifecycle.containers_of(self._record.pod.spec):
            one = run.of(container.name)
            made = found.get((one.name, one.starts - 1))
            if made is None or not isinstance(one.state, Waiting):
                continue
            if one.last is not None and one.last.container_id == made.id:
                continue  # its end is known, and the next start is due later
            await self._set(one.name, _taken_up(container, made))
            if made.state == cri.CONTAINER_CREATED:
                await self._started(container, made.id)


def _taken_up(container: AnyContainer, made: cri.ContainerStatus) -> Callable[[ContainerRun], ContainerRun]:
    """The container as its cell tells of it; of the image that it was made of, for the pod may name another by now."""
    image, begun = made.image.user_specified_image or container.image, made.state != cri.CONTAINER_CREATED
    at = (made.started_at or made.created_at) / 1e9

    def known(one: ContainerRun) -> ContainerRun:
        there = replace(lifecycle.made(one, made.id), image=image, image_id=made.image_ref)
        return running(container, there, at) if begun else there

    return known


def running(container: AnyContainer, one: ContainerRun, at: float) -> ContainerRun:
    """The container from its start on; ready at once where no probe must say so."""
    started = container.startupProbe is None
    ready = started and container.readinessProbe is None
    return replace(one, state=Running(at), started=started, ready=ready, retry_at=0.0)
