"""CRI for a kubelet with two runtimes behind it: the cells, and the worker's own agent. Each call goes to the one that
has the sandbox or container; lists are those of both.

An image counts as present where the cells say so: a kubelet asks without saying for which pod, and no cell may start a
container on an image that its own pod has not pulled. So pods on the worker pull each time, too: a question to the
registry where the image is there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from google.protobuf.message import Message
from grpclib.client import Channel
from grpclib.const import Cardinality, Handler

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import RuntimeServiceStub
from cellwire.faults import Fault, Kind
from cellwire.rpc.call import call, translate_errors
from cellwire.rpc.grpclib_patches import MendedChannel
from cellwire.rpc.limits import CELL
from cellwire.rpc.written import Written
from controller.shim.worker_placement import Rules

if TYPE_CHECKING:
    from grpclib._typing import IServable

Routed = Callable[[Any], Awaitable[None]]
log = structlog.get_logger()
# As long as a kubelet waits for what takes longest.
LONGEST = 600.0
# Of both: the items of their answers, one after the other.
LISTED = frozenset({
    "ListPodSandbox", "ListContainers", "ListContainerStats", "ListPodSandboxStats", "ListPodSandboxMetrics",
    "ListImages",
})  # fmt: skip
WHOLE = frozenset({"ListPodSandbox", "ListContainers"})
STREAMED = frozenset({
    "StreamPodSandboxes", "StreamContainers", "StreamContainerStats", "StreamPodSandboxStats",
    "StreamPodSandboxMetrics", "StreamImages", "GetContainerEvents",
})  # fmt: skip
# To both, answered by the cells.
TOLD = frozenset({"UpdateRuntimeConfig", "RemoveImage"})
# By the cells alone. All other calls describe a pod, or name a sandbox or a container.
OURS = frozenset({"Version", "Status", "RuntimeConfig", "ImageStatus", "ImageFsInfo", "ListMetricDescriptors"})
UID = "io.kubernetes.pod.uid"
SHORT = 10.0
_NAMED = ("container_id", "pod_sandbox_id", "sandbox_id")


class Front:
    """A service in front of another one of the same name, which is the cells', and of the worker's agent.

    `known` says whether the cells have a sandbox or container of this id.
    """

    def __init__(self, cells: IServable, worker: Channel, rules: Rules, known: Callable[[str], bool]) -> None:
        self._cells = cells
        self._worker = worker
        self._rules = rules
        self._known = known

    def __mapping__(self) -> Mapping[str, Handler]:
        """A handler for each method of the service."""
        return {
            path: Handler(self._routed(path, inner), inner.cardinality, inner.request_type, inner.reply_type)
            for path, inner in self._cells.__mapping__().items()
        }

    def _routed(self, path: str, inner: Handler) -> Routed:
        name = path.rpartition("/")[2]
        if name in OURS:
            return inner.func
        routed = self._listed if name in LISTED else self._streamed if name in STREAMED else self._one

        async def handle(stream: Any) -> None:
            request = await stream.recv_message()
            if request is not None:
                await routed(stream, request, path, inner)

        return handle

    async def _one(self, stream: Any, request: Any, path: str, inner: Handler) -> None:
        name = path.rpartition("/")[2]
        if name in TOLD:
            with suppress(Fault):  # the cells' answer counts, and an agent that is away has forgotten anyway
                await self._asked(path, inner, request)
        if await self._here(name, request):
            if name == "RunPodSandbox" and request.runtime_handler == self._rules.handler:
                request.runtime_handler = ""
            await stream.send_message(await self._asked(path, inner, request))
        else:
            await inner.func(_Replayed(stream, request))

    async def _listed(self, stream: Any, request: Any, path: str, inner: Handler) -> None:
        """Both lists in one answer: messages are joined by joining their octets."""
        first = _KeptReply(stream, request)
        await inner.func(first)
        try:
            more = await self._asked(path, inner, request)
        except Fault as fault:
            # Pods that are missing in a list are made anew; numbers that are missing come next time.
            if path.rpartition("/")[2] in WHOLE:
                raise
            log.warning("the worker's own agent does not answer", call=path, cause=str(fault))
            more = inner.reply_type()
        ours = first.message if isinstance(first.message, Written) else Written.of(first.message)
        await stream.send_message(Written(ours.message, ours.octets + more.SerializeToString()))

    async def _streamed(self, stream: Any, request: Any, path: str, inner: Handler) -> None:
        sending = asyncio.Lock()

        async def beside() -> None:
            try:
                with translate_errors():
                    async with self._worker.request(
                        path, inner.cardinality, inner.request_type, inner.reply_type
                    ) as theirs:
                        await theirs.send_message(request, end=True)
                        async for message in theirs:
                            async with sending:
                                await stream.send_message(message)
            except Fault as fault:
                log.warning("the worker's own agent does not answer", call=path, cause=str(fault))

        async with asyncio.TaskGroup() as both:
            both.create_task(beside())
            await inner.func(_TeedReply(stream, request, sending))

    async def _here(self, name: str, request: Any) -> bool:
        """Whether a call is the worker's: by its pod, or because the cells know no such sandbox or container."""
        if name == "RunPodSandbox":
            return self._rules.here(request.config, request.runtime_handler)
        if name == "PullImage":
            config = request.sandbox_config
            if not config.metadata.uid or self._rules.here(config):
                return bool(config.metadata.uid)
            # A pull does not tell of which RuntimeClass its pod is.
            return await self._has(config.metadata.uid)
        named = next((found for field in _NAMED if (found := getattr(request, field, ""))), "")
        return bool(named) and not self._known(named)

    async def _has(self, uid: str) -> bool:
        """Whether the worker's agent has a sandbox of a pod."""
        wanted = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector={UID: uid}))
        said = await call(RuntimeServiceStub(self._worker).ListPodSandbox, wanted, deadline=SHORT)
        return bool(said.items)

    async def _asked(self, path: str, inner: Handler, request: Message) -> Any:
        """What the worker's agent answers. Raises Fault."""
        thing = "the worker's own agent"
        try:
            with translate_errors():
                async with self._worker.request(
                    path, Cardinality.UNARY_UNARY, inner.request_type, inner.reply_type, timeout=LONGEST
                ) as stream:
                    await stream.send_message(request, end=True)
                    reply = await stream.recv_message()
        except TimeoutError as error:
            raise Fault(Kind.TIMEOUT, thing, f"it did not answer within {LONGEST:g} s") from error
        if reply is None:
            raise Fault(Kind.UNAVAILABLE, thing, "it ended without an answer", "the kubelet asks again")
        return reply


class _Replayed:
    """A call's stream whose request has been read, for who has yet to read it."""

    def __init__(self, stream: Any, request: Message) -> None:
        self._stream = stream
        self._request: Message | None = request

    async def recv_message(self) -> Message | None:
        request, self._request = self._request, None
        return request

    async def send_message(self, message: Any) -> None:
        await self._stream.send_message(message)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _KeptReply(_Replayed):
    """Its answer is kept instead of being sent."""

    message: Any = None

    async def send_message(self, message: Any) -> None:
        self.message = message


class _TeedReply(_Replayed):
    """Others send to it as well."""

    def __init__(self, stream: Any, request: Message, sending: asyncio.Lock) -> None:
        super().__init__(stream, request)
        self._sending = sending

    async def send_message(self, message: Any) -> None:
        async with self._sending:
            await self._stream.send_message(message)


@asynccontextmanager
async def before(
    services: Sequence[IServable], socket: Path | None, rules: Rules, known: Callable[[str], bool]
) -> AsyncGenerator[Sequence[IServable]]:
    """The services, with the agent that listens at the socket beside them; as they are where there is none."""
    if socket is None:
        yield services
        return
    channel = MendedChannel(CELL, path=str(socket))
    try:
        yield [Front(each, channel, rules, known) for each in services]
    finally:
        channel.close()
