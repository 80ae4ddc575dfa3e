"""pods/exec, pods/attach and pods/portforward: kubectl's dialects in front, the cell's connection behind."""

from __future__ import annotations

from aiohttp import web

from cellwire.stream.session import SessionRequest
from cellwire.stream.streaming_server import serve_port_forward, serve_session
from controller.api.requests import flag
from controller.objects.fields import Json, bad_request
from controller.pods.engine import Pods


async def execute(request: web.Request, pods: Pods) -> web.StreamResponse:
    """Run a command in a container."""
    pod = _pod(request, pods)
    command = tuple(request.query.getall("command", ()))
    if not command:
        raise bad_request("you must specify at least one command for the container")
    tty = flag(request, "tty")
    wanted = SessionRequest(
        container_id=pods.running_container(pod, request.query.get("container", "")),
        command=command,
        tty=tty,
        stdin=flag(request, "stdin"),
        stdout=flag(request, "stdout"),
        stderr=flag(request, "stderr") and not tty,
    )
    _some_stream(wanted)
    backend = pods.backend(pod)
    return await serve_session(request, lambda: backend.exec(wanted), wanted)


async def attach(request: web.Request, pods: Pods) -> web.StreamResponse:
    """Attach to a container's own process."""
    pod = _pod(request, pods)
    name = pods.container(pod, request.query.get("container", ""))
    container = pods.declared(pod, name)
    tty = container is not None and container.tty and flag(request, "tty")
    wanted = SessionRequest(
        container_id=pods.running_container(pod, name),
        tty=tty,
        stdin=flag(request, "stdin") and container is not None and container.stdin,
        stdout=flag(request, "stdout"),
        stderr=flag(request, "stderr") and not tty,
    )
    _some_stream(wanted)
    backend = pods.backend(pod)
    return await serve_session(request, lambda: backend.attach(wanted), wanted)


async def port_forward(request: web.Request, pods: Pods) -> web.StreamResponse:
    """Forward connections to ports of the pod."""
    pod = _pod(request, pods)
    backend = pods.backend(pod)
    sandbox = pods.run_of(pod).sandbox
    ports = [port for value in request.query.getall("ports", ()) for port in value.split(",") if port]
    if not all(port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536 for port in ports):
        raise bad_request(f"invalid ports: {', '.join(ports)[:300]}")
    return await serve_port_forward(
        request, lambda port: backend.port_forward(sandbox, port), [int(port) for port in ports]
    )


def _pod(request: web.Request, pods: Pods) -> Json:
    return pods.find(request.match_info["namespace"], request.match_info["name"])


def _some_stream(wanted: SessionRequest) -> None:
    if not (wanted.stdin or wanted.stdout or wanted.stderr):
        raise bad_request("at least one of stdin, stdout and stderr must be asked for")
