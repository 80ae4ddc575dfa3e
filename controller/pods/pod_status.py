"""The status of a pod as Kubernetes writes it, from its manifest and its run. Pure."""

from __future__ import annotations

from controller.objects.fields import Json
from controller.objects.schema.containers import AnyContainer
from controller.objects.schema.pods import PodSpec
from controller.objects.timestamps import timestamp
from controller.pods.lifecycle import containers_of, initialized, is_ephemeral, is_sidecar
from controller.pods.run import ContainerRun, PodRun, Running, State, Terminated, Waiting


def phase_of(spec: PodSpec, run: PodRun) -> str:
    """Pending, Running, Succeeded or Failed."""
    if run.phase:
        return run.phase
    if not initialized(spec, run):
        return "Pending"
    # A main container that waits for its restart keeps the pod Running; one that never started keeps it Pending.
    begun = all(
        not isinstance(one.state, Waiting) or one.last is not None or one.restarts > 0
        for one in (run.of(container.name) for container in spec.containers)
    )
    return "Running" if run.sandbox and begun else "Pending"


def status_of(spec: PodSpec, run: PodRun, before: Json, now: float) -> Json:
    """The whole status; moments of transition are kept from the status `before` where nothing changed."""
    status: Json = {"phase": phase_of(spec, run), "conditions": _conditions(spec, run, before, now)}
    for name, value in (("reason", run.reason), ("message", run.message)):
        if value:
            status[name] = value
    if run.cell_address:
        status["hostIP"] = run.cell_address
        status["hostIPs"] = [{"ip": run.cell_address}]
    if run.addresses:
        status["podIP"] = run.addresses[0]
        status["podIPs"] = [{"ip": address} for address in run.addresses]
    if run.started_at:
        status["startTime"] = timestamp(run.started_at)
    if run.cell or run.phase:
        inits = [_container(run, container, init=True) for container in spec.initContainers]
        if inits:
            status["initContainerStatuses"] = inits
        status["containerStatuses"] = [
            _container(run, container, held=not initialized(spec, run)) for container in spec.containers
        ]
        if later := [_container(run, container) for container in spec.ephemeralContainers]:
            status["ephemeralContainerStatuses"] = later
    status["qosClass"] = _quality(spec)
    return status


def _conditions(spec: PodSpec, run: PodRun, before: Json, now: float) -> list[Json]:
    earlier: dict[str, Json] = {one["type"]: one for one in before.get("conditions") or ()}
    over = "PodCompleted" if run.phase == "Succeeded" else "PodFailed" if run.phase else ""
    unready = _not_ready(spec, run)
    why = ("ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]")
    waiting = [one.name for one in spec.initContainers if not _init_complete(run, one)]
    not_initialized = ("ContainersNotInitialized", f"containers with incomplete status: [{' '.join(waiting)}]")
    ready = bool(run.sandbox) and not unready and not run.phase
    listed = (
        ("PodReadyToStartContainers", bool(run.sandbox) and not run.phase, ("", "")),
        ("Initialized", bool(run.cell) and initialized(spec, run), not_initialized if waiting else ("", "")),
        ("Ready", ready, (over, "") if over else why),
        ("ContainersReady", ready, (over, "") if over else why),
        ("PodScheduled", bool(run.cell), ("Unschedulable", run.unschedulable) if run.unschedulable else ("", "")),
    )
    if not run.cell and not run.phase:
        listed = listed[-1:]
    return [_condition(name, holds, reason, earlier.get(name), now) for name, holds, reason in listed]


def _condition(name: str, holds: bool, reason: tuple[str, str], before: Json | None, now: float) -> Json:  # noqa: FBT001
    status = "True" if holds else "False"
    condition: Json = {"type": name, "status": status, "lastProbeTime": None}
    same = before is not None and before["status"] == status
    condition["lastTransitionTime"] = before["lastTransitionTime"] if same and before else timestamp(now)
    if not holds:
        condition.update({key: value for key, value in zip(("reason", "message"), reason, strict=True) if value})
    return condition


def _not_ready(spec: PodSpec, run: PodRun) -> list[str]:
    """Names of main containers and sidecars that do not serve."""
    watched = [
        container
        for container, init in containers_of(spec)
        if (not init or is_sidecar(container)) and not is_ephemeral(container)
    ]
    return [container.name for container in watched if not run.of(container.name).ready]


def _init_complete(run: PodRun, container: AnyContainer) -> bool:
    one = run.of(container.name)
    if is_sidecar(container):
        return one.started
    return isinstance(one.state, Terminated) and one.state.exit_code == 0


def _container(run: PodRun, container: AnyContainer, *, init: bool = False, held: bool = False) -> Json:
    one = run.of(container.name)
    complete = isinstance(one.state, Terminated) and one.state.exit_code == 0
    status: Json = {
        "name": one.name,
        "state": _state(one, held=held),
        "lastState": {"terminated": _terminated(one.last)} if one.last else {},
        "ready": one.ready or (init and complete),
        "restartCount": one.restarts,
        "image": one.image or container.image,
        "imageID": one.image_id,
        "started": one.started,
    }
    if one.id:
        status["containerID"] = f"chinampa://{one.id}"
    return status


def _state(one: ContainerRun, *, held: bool) -> Json:
    state: State = one.state
    match state:
        case Waiting(reason, message):
            shown = "PodInitializing" if held and reason == "ContainerCreating" else reason
            return {"waiting": {"reason": shown, "message": message} if message else {"reason": shown}}
        case Running(started_at):
            return {"running": {"startedAt": timestamp(started_at)}}
        case Terminated():
            return {"terminated": _terminated(state)}


def _terminated(state: Terminated) -> Json:
    told: Json = {
        "exitCode": state.exit_code,
        "reason": state.reason,
        "startedAt": timestamp(state.started_at),
        "finishedAt": timestamp(state.finished_at),
    }
    if state.message:
        told["message"] = state.message
    if state.container_id:
        told["containerID"] = f"chinampa://{state.container_id}"
    return told


def _quality(spec: PodSpec) -> str:
    """Guaranteed, Burstable or BestEffort, by Kubernetes' rule."""
    guaranteed, any_set = True, False
    for container, _ in containers_of(spec):
        if is_ephemeral(container):
            continue
        limits, requests = container.resources.limits, container.resources.requests
        for name in ("cpu", "memory"):
            any_set = any_set or name in limits or name in requests
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                guaranteed = False
    if not any_set:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
