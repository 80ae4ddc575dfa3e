"""The lifecycle of a pod: what to do next for it, from its manifest, its run and the time. Pure: the engine does it.

Restart policies, the order of init containers, sidecars, and the kubelet's back-off: the first restart at once, then
10 s doubling to 5 minutes, forgotten after 10 minutes of running.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from controller.objects.schema.containers import AnyContainer, EphemeralContainer
from controller.objects.schema.pods import PodSpec
from controller.pods import restarting
from controller.pods.defaults import GRACE_SECONDS
from controller.pods.restarting import Policy, restarts
from controller.pods.run import ContainerRun, PodRun, Running, State, Terminated, Waiting

FIRST_BACKOFF = 10.0
LONGEST_BACKOFF = 300.0
FORGIVEN_AFTER = 600.0
# How long an error shows under its own name before it shows as a back-off.
SHOWN = 3.0
START_FAILED = 128

UNPULLABLE = "ErrImagePull"
_BACKING_OFF = {UNPULLABLE: "ImagePullBackOff", "RunContainerError": "CrashLoopBackOff"}


class Start(msgspec.Struct, frozen=True):
    """Pull the image if need be, create and start the container."""

    container: str


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do before this moment (or, without one, before something happens)."""

    until: float | None = None


class Finish(msgspec.Struct, frozen=True):
    """The pod is over: stop what still runs, keep the logs, give the cell back."""

    phase: str
    reason: str = ""
    message: str = ""


Action = Start | Wait | Finish


def containers_of(spec: PodSpec) -> Iterator[tuple[AnyContainer, bool]]:
    """Every container of a pod in starting order, with whether it is an init container or sidecar."""
    for container in spec.initContainers:
        yield container, True
    for container in spec.containers:
        yield container, False
    for container in spec.ephemeralContainers:
        yield container, False


def is_ephemeral(container: AnyContainer) -> bool:
    """Whether a container was put into the pod while it ran: it is started once, and nothing waits for it."""
    return isinstance(container, EphemeralContainer)


def container_named(spec: PodSpec, name: str) -> AnyContainer | None:
    """The container of this name, of either kind."""
    return next((one for one, _ in containers_of(spec) if one.name == name), None)


def is_sidecar(container: AnyContainer) -> bool:
    """Whether this init container runs beside the others for the pod's whole life."""
    return container.restartPolicy == "Always"


def grace_of(spec: PodSpec) -> int:
    """Seconds that the pod's containers have for their end."""
    seconds = spec.terminationGracePeriodSeconds
    return GRACE_SECONDS if seconds is None else seconds


def policy_of(spec: PodSpec, container: AnyContainer, *, init: bool) -> Policy:
    """The restart policy of one container: a sidecar's is its own, an init container's never restarts a success."""
    if init and is_sidecar(container):
        return restarting.ALWAYS
    if is_ephemeral(container):
        return restarting.NEVER
    return restarting.policy_of(container, spec.restartPolicy or "Always", init=init)


def decide(spec: PodSpec, run: PodRun, now: float, image_patience: float = 0.0) -> tuple[Action, ...]:
    """The next things to do, in order; a lone Wait where there is nothing due.

    A pod that only waits for an image that cannot be pulled is over after `image_patience` seconds (0: never).
    """
    due: list[Action] = []
    waits: list[float] = []
    for end in (_evicted(run), _deadline(spec, run, now), _unpullable(spec, run, now, image_patience)):
        if isinstance(end, Finish):
            return (end,)
        waits += [] if end is None else [end]
    if over := _over(spec, run):
        return (over,)
    for container, init in containers_of(spec):
        step = _container_step(spec, run, container, init=init, now=now)
        if isinstance(step, Finish):
            return (step,)
        if isinstance(step, Start):
            due.append(step)
        elif step is not None and step.until is not None:
            waits.append(step.until)
        if init and not init_done(container, run) and not _works(spec, run):
            break  # a sidecar that ends later holds nothing back
    return tuple(due) or (Wait(min(waits)) if waits else Wait(),)


def _works(spec: PodSpec, run: PodRun) -> bool:
    """Whether any main container runs."""
    return any(isinstance(run.of(container.name).state, Running) for container in spec.containers)


def _evicted(run: PodRun) -> Finish | None:
    return Finish("Failed", "Evicted", run.evicted) if run.evicted else None


def _unpullable(spec: PodSpec, run: PodRun, now: float, patience: float) -> Finish | float | None:
    """The end of a pod whose cell has waited long enough for an image that cannot be pulled; else when that is due."""
    since = [
        (one.unpullable_since, container.image)
        for container, _ in containers_of(spec)
        if (one := run.of(container.name)).unpullable_since
    ]
    if not since or not patience or _works(spec, run):
        return None
    first, image = min(since)
    if now < first + patience:
        return first + patience
    cause = f'image "{image}" could not be pulled for {patience:g} s (api.image_patience), for which a cell was kept'
    return Finish("Failed", "ImagePullBackOff", cause)


def init_done(container: AnyContainer, run: PodRun) -> bool:
    """Whether the next container in order may start: a success, or for a sidecar to have started."""
    now = run.of(container.name)
    if is_sidecar(container):
        return now.started and isinstance(now.state, Running)
    return isinstance(now.state, Terminated) and now.state.exit_code == 0


def initialized(spec: PodSpec, run: PodRun) -> bool:
    """Whether the main containers have begun, or may: all init containers have done their part."""
    begun = any(_begun(run.of(container.name)) for container in spec.containers)
    return begun or all(init_done(container, run) for container in spec.initContainers)


def _begun(one: ContainerRun) -> bool:
    """Whether anything was done for the container on its present cell."""
    return bool(one.id or one.crashes or one.unmade) or not isinstance(one.state, Waiting)


def _deadline(spec: PodSpec, run: PodRun, now: float) -> Finish | float | None:
    seconds = spec.activeDeadlineSeconds
    if seconds is None or not run.started_at:
        return None
    if now >= run.started_at + seconds:
        return Finish("Failed", "DeadlineExceeded", "Pod was active on its cell longer than the specified deadline")
    return run.started_at + seconds


def _container_step(spec: PodSpec, run: PodRun, container: AnyContainer, *, init: bool, now: float) -> Action | None:
    one = run.of(container.name)
    if is_ephemeral(container) and (one.crashes or one.unmade):
        return None  # it could not be started, and is not tried again
    match one.state:
        case Running():
            return None
        case Waiting(reason, _, since):
            changes = since + SHOWN if reason in _BACKING_OFF and since + SHOWN > now else one.retry_at
            return Start(one.name) if _may_start(one, now) else Wait(min(changes, one.retry_at))
        case Terminated() as ended:
            if restarts(policy_of(spec, container, init=init), ended):
                return Start(one.name) if _may_start(one, now) else Wait(one.retry_at)
            if init and ended.exit_code != 0:
                return Finish("Failed", "", f'init container "{one.name}" ended with exit code {ended.exit_code}')
            return None


def _over(spec: PodSpec, run: PodRun) -> Finish | None:
    """The end, once every main container has ended for good; sidecars, whatever they do, keep no pod."""
    codes: list[int] = []
    for container in spec.containers:
        state = run.of(container.name).state
        if not isinstance(state, Terminated) or restarts(policy_of(spec, container, init=False), state):
            return None
        codes.append(state.exit_code)
    return Finish("Failed" if any(codes) else "Succeeded")


def last_phase(spec: PodSpec, run: PodRun) -> str:
    """The phase of a pod that was stopped: it succeeded where every container of it did."""
    states = [run.of(container.name).state for container in spec.containers]
    return "Succeeded" if all(isinstance(one, Terminated) and one.exit_code == 0 for one in states) else "Failed"


def _may_start(one: ContainerRun, now: float) -> bool:
    """Whether a container has waited long enough, or the clock was ahead when that was reckoned: twice the longest
    back-off is more than a cell's clock and ours may differ by.
    """
    return one.retry_at <= now or one.retry_at > now + 2 * LONGEST_BACKOFF


def backoff(crashes: int) -> float:
    """Seconds to wait after so many ends in a row: none after the first."""
    return 0.0 if crashes <= 1 else min(FIRST_BACKOFF * 2.0 ** min(crashes - 2, 10), LONGEST_BACKOFF)


def ended(one: ContainerRun, state: Terminated, *, policy: Policy, whose: str) -> ContainerRun:
    """The container after its process ended; `whose` is name_namespace(uid) of the pod, for the message."""
    lasted = state.finished_at - state.started_at if state.started_at else 0.0
    crashes = 1 if lasted >= FORGIVEN_AFTER else one.crashes + 1
    delay = backoff(crashes)
    after: State = state
    if restarts(policy, state) and delay:
        after = Waiting("CrashLoopBackOff", _restarting(delay, one.name, whose), state.finished_at)
    return replace(
        one,
        state=after,
        last=state if after is not state else one.last,
        crashes=crashes,
        retry_at=state.finished_at + delay,
        started=False,
        ready=False,
    )


def not_started(one: ContainerRun, cause: str, now: float, *, policy: Policy) -> ContainerRun:
    """The container after the runtime refused to start it."""
    state = Terminated(START_FAILED, "StartError", cause, finished_at=now, container_id=one.id)
    crashes = one.crashes + 1
    if not restarts(policy, state):
        return replace(one, state=state, crashes=crashes, started=False, ready=False)
    return replace(
        one,
        state=Waiting("RunContainerError", cause, now),
        last=state,
        crashes=crashes,
        retry_at=now + max(backoff(crashes), SHOWN),
    )


def not_prepared(one: ContainerRun, reason: str, cause: str, now: float) -> ContainerRun:
    """The container after its image could not be had, or it could not be created."""
    unmade = one.unmade + 1
    delay = backoff(unmade + 1)
    since = (one.unpullable_since or now) if reason == UNPULLABLE else 0.0
    return replace(
        one,
        state=Waiting(reason, cause, now),
        last=_former(one),
        unmade=unmade,
        retry_at=now + delay,
        unpullable_since=since,
    )


def begun(one: ContainerRun, now: float) -> ContainerRun:
    """The container once its next start is under way: until that is known to run, it waits."""
    return replace(one, id="", state=Waiting(since=now), last=_former(one), starts=one.starts + 1, unpullable_since=0.0)


def made(one: ContainerRun, container_id: str) -> ContainerRun:
    """The container once its present start has one, with this id. A start that came to none is no restart."""
    if one.id == container_id:
        return one
    again = one.last is not None and bool(one.last.container_id)
    return replace(one, id=container_id, restarts=one.restarts + again, unmade=0)


def renewed(one: ContainerRun, now: float) -> ContainerRun:
    """The container that has ended to start anew with another image, at once."""
    return replace(one, state=Waiting(since=now), last=_former(one), retry_at=0.0)


def _former(one: ContainerRun) -> Terminated | None:
    """How the start before the next one ended."""
    return one.state if isinstance(one.state, Terminated) else one.last


def settled(spec: PodSpec, run: PodRun, now: float, whose: str) -> PodRun:
    """The run with errors that have shown long enough renamed to the back-off that follows them."""
    for container, _ in containers_of(spec):
        one = run.of(container.name)
        if not isinstance(one.state, Waiting) or one.retry_at <= now:
            continue
        reason = _BACKING_OFF.get(one.state.reason)
        if reason is None or now < one.state.since + SHOWN:
            continue
        if reason == "ImagePullBackOff":
            message = f'Back-off pulling image "{container.image}": {one.state.reason}: {one.state.message}'
        else:
            message = f"{_restarting(one.retry_at - one.state.since, one.name, whose)}: {one.state.message}"
        run = run.having(replace(one, state=Waiting(reason, message, one.state.since)))
    return run


def backing_off(spec: PodSpec, before: PodRun, after: PodRun) -> list[AnyContainer]:
    """The containers whose images could not be pulled, and are not tried again yet: those that became so."""

    def waits(run: PodRun, name: str) -> bool:
        state = run.of(name).state
        return isinstance(state, Waiting) and state.reason == _BACKING_OFF[UNPULLABLE]

    names = {one.name: one for one, _ in containers_of(spec)}
    return [one for name, one in names.items() if waits(after, name) and not waits(before, name)]


def runs_anew(spec: PodSpec) -> bool:
    """Whether a pod whose cell is over is run on another."""
    return (spec.restartPolicy or "Always") == "Always"


def lost(spec: PodSpec, run: PodRun, cause: str, now: float, reason: str = "CellLost") -> PodRun:
    """The run after its cell was lost: to be run anew where its policy says Always, else failed."""
    containers: dict[str, ContainerRun] = {}
    for container, _ in containers_of(spec):
        one = run.of(container.name)
        state = one.state
        if isinstance(state, Waiting) and one.last is not None and one.last.container_id == one.id:
            state = one.last  # it waited to start again
        if isinstance(state, Running) or (isinstance(state, Waiting) and one.starts):
            began = state.started_at if isinstance(state, Running) else 0.0
            state = Terminated(137, reason, cause, started_at=began, finished_at=now, container_id=one.id)
        containers[one.name] = replace(one, state=state, started=False, ready=False)
    if not runs_anew(spec):
        return replace(run, containers=containers, phase="Failed", reason=reason, message=cause)
    anew = {name: _anew(one) for name, one in containers.items()}
    return PodRun(attempt=run.attempt + 1, started_at=run.started_at, containers=anew)


def _anew(one: ContainerRun) -> ContainerRun:
    return ContainerRun(name=one.name, last=_former(one), starts=one.starts, restarts=one.restarts)


def _restarting(delay: float, name: str, whose: str) -> str:
    minutes, seconds = divmod(round(delay), 60)
    written = f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
    return f"back-off {written} restarting failed container={name} pod={whose}"
