"""EC2 for tests: moto's server, and in front of it what moto lacks and real EC2 has.

- ClientToken: the same token with the same parameters gives the first answer again, also while the first call is still
  under way; with others, IdempotentParameterMismatch. (moto launches twice.)
- Throttling: the documented request and resource buckets per action, answered with RequestLimitExceeded and counted
  (`buckets`). (moto never throttles.)
- CreateFleet of type instant over many overrides by priority, with each option's error in the answer, the template's
  metadata options, volumes and interfaces, the call's own user-data, profile, volumes, metadata options and tags, and
  the tags that EC2 adds itself. (moto takes the first override.)
- An account whose default is "enabled" for tags in instance metadata, so that no launch may have a tag with a slash
  unless it says otherwise; spot's price beside `MaxPrice`; lists that fail while a zone is out. (moto has none of it.)
- Launch templates in RunInstances, secondary addresses, tags of interfaces, `MaxCount` where there is less. (moto
  ignores most of it.) InsufficientFreeAddressesInSubnet where a subnet is full. (moto breaks.)
- GetProducts of the price list service. (moto has none.) Names of images that are given once. (moto gives them twice.)
- Long lists in pages (see ec2_pages). (moto sends all at once.)
- EKS' access entries, add-ons and groups of clusters (see ec2_eks). (moto has none.)
- Dry runs of all actions, and limits of vCPUs, those of a new account at first. (moto has few and none.)
- What a test has go wrong (`rules`, see ec2_rules), and a log of every call (`calls`, `watch`).

What it does not do: fleets of other types, DescribeFleets of its fleets, and the answer to a repeated ClientToken tells
the instances as they were at first, not as they are now.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientConnectionError, ClientSession, ClientTimeout, web

from tests.support import ec2_eks, ec2_pages, ec2_pricing, ec2_snapshots, ec2_wire
from tests.support.ec2_buckets import CallBuckets
from tests.support.ec2_launches import Launches, backend, market_of
from tests.support.ec2_rules import Ec2Error, InjectedRules
from tests.support.moto_server import moto_url

ACCOUNT = "123456789012"
REGION = "us-east-1"
_CREDENTIAL = re.compile(r"Credential=[^/]+/\d+/([^/]+)/([^/]+)/")
_ERROR = "x-amzn-ErrorType"
_HOP_BY_HOP = frozenset({"host", "connection", "content-length", "transfer-encoding", "content-encoding"})


@dataclass
class ObservedCall:
    """One call as it came and ended. `outcome` is "ok", an error code, "hung" or "lost" (carried out, never answered);
    `instances` are those that it launched or ended; `at` is monotonic, in seconds.
    """

    service: str
    action: str
    parameters: dict[str, Any]
    at: float
    outcome: str = "under way"
    seconds: float = 0.0
    instances: tuple[str, ...] = ()
    repeated: bool = False


@dataclass(frozen=True)
class _Ec2Answer:
    status: int
    body: bytes
    instances: tuple[str, ...] = ()
    content_type: str = "text/xml"
    error: str = ""
    """The name of an error, of services that say it in a header."""


@dataclass(frozen=True)
class _KeptAnswer:
    parameters: dict[str, Any]
    answer: _Ec2Answer


@dataclass
class Ec2Front:
    """EC2 at `url`, for any number of clients."""

    moto: str
    _tasks: asyncio.TaskGroup
    clock: Callable[[], float] = time.monotonic
    url: str = ""
    calls: list[ObservedCall] = field(default_factory=list[ObservedCall])
    rules: InjectedRules = field(default_factory=InjectedRules)
    buckets: CallBuckets = field(default_factory=CallBuckets)
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by whoever is in moto's EC2, which breaks where two of its threads meet."""
    _session: ClientSession | None = None
    _eks: ec2_eks.Eks = field(init=False)
    _kept: dict[tuple[str, str], _KeptAnswer] = field(default_factory=dict[tuple[str, str], _KeptAnswer])
    _turns: dict[tuple[str, str], asyncio.Lock] = field(default_factory=dict[tuple[str, str], asyncio.Lock])
    _listeners: list[asyncio.Queue[ObservedCall]] = field(default_factory=list[asyncio.Queue[ObservedCall]])
    _under_way: set[asyncio.Task[_Ec2Answer]] = field(default_factory=set[asyncio.Task[_Ec2Answer]])

    def __post_init__(self) -> None:
        self._eks = ec2_eks.Eks(self.ask)

    def count(self, *actions: str, service: str = "ec2") -> int:
        """How many calls there were of these actions (of all, without any), whatever became of them."""
        return sum(call.service == service and (not actions or call.action in actions) for call in self.calls)

    def table(self) -> str:
        """Calls by action and outcome, one a line."""
        counted = Counter((call.service, call.action, call.outcome) for call in self.calls)
        return "\n".join(
            f"{service:<8}{action:<36}{outcome:<32}{n:>6}" for (service, action, outcome), n in sorted(counted.items())
        )

    @contextmanager
    def watch(self) -> Generator[asyncio.Queue[ObservedCall]]:
        """Every call from now on, once it was carried out and before it is answered."""
        heard: asyncio.Queue[ObservedCall] = asyncio.Queue()
        self._listeners.append(heard)
        try:
            yield heard
        finally:
            self._listeners.remove(heard)

    async def ask(self, action: str, **parameters: Any) -> dict[str, Any]:
        """A call to moto, past the log, the buckets and the rules. Raises Refused."""
        return ec2_wire.parse_answer(action, 200, (await self._moto_ec2(action, parameters)).body)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One HTTP request of an AWS client."""
        body = await request.read()
        service, action = _named(request, body)
        parameters = _parameters(service, action, body)
        call = ObservedCall(service, action, parameters, self.clock())
        self.calls.append(call)
        try:
            if self.rules.hangs(action):
                await asyncio.Event().wait()
            # EC2 carries a call out to its end, whether or not the caller waits for it.
            carried_out = self._tasks.create_task(self._answer(request, body, call))
            self._under_way.add(carried_out)
            carried_out.add_done_callback(self._under_way.discard)
            await asyncio.wait([carried_out])
            await self.rules.answerable(action)
        except asyncio.CancelledError:  # the caller went away
            call.outcome = "hung" if self.rules.hangs(action) else "lost"
            raise
        finally:
            call.seconds = self.clock() - call.at
        if self.rules.loses(action):
            call.outcome = "lost"
            assert request.transport is not None
            request.transport.abort()
        answer = carried_out.result()
        headers = {"Content-Type": answer.content_type} | ({_ERROR: answer.error} if answer.error else {})
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    def abandon(self) -> None:
        """End what is under way, as long polls whose callers are gone: nobody tells them that the session closes."""
        for one in self._under_way:
            one.cancel()

    async def _answer(self, request: web.Request, body: bytes, call: ObservedCall) -> _Ec2Answer:
        try:
            return await self._heard(request, body, call)
        except Ec2Error as refused:
            call.outcome = refused.code
            if call.service == "ebs":
                said = json.dumps({"Message": refused.message}).encode()
                return _Ec2Answer(refused.status, said, (), "application/json", refused.code)
            return _Ec2Answer(refused.status, ec2_wire.error(refused.code, refused.message).encode())

    async def _heard(self, request: web.Request, body: bytes, call: ObservedCall) -> _Ec2Answer:
        if refused := self.rules.failure(call.action) or ec2_snapshots.name_in_use(call.action, call.parameters):
            raise refused
        if call.service == "ec2" and self.buckets.take(call.action, call.parameters, self.clock()):
            raise Ec2Error("RequestLimitExceeded")
        if call.service == "ec2" and call.parameters.get("DryRun"):
            raise Ec2Error("DryRunOperation")
        market, code, carried_out = self.rules.failing_market
        fails = bool(market) and market_of(call.action, call.parameters) == market
        if fails and not carried_out:
            raise Ec2Error(code)
        answer = await self._once(request, body, call)
        if fails:
            raise Ec2Error(code)
        call.outcome = "ok" if answer.status < 300 else ec2_wire.error_code(answer.body)
        call.instances = answer.instances
        for heard in self._listeners:
            heard.put_nowait(call)
        return answer

    async def _once(self, request: web.Request, body: bytes, call: ObservedCall) -> _Ec2Answer:
        """Carried out, or the kept answer where its token was seen."""
        if call.service == "ec2" and ec2_pages.is_cut(call.action, call.parameters):
            return await self._page(request, body, call)
        token = call.parameters.get("ClientToken", "")
        if call.service != "ec2" or not token:
            return await self._carry_out(request, body, call)
        key = (call.action, str(token))
        async with self._turns.setdefault(key, asyncio.Lock()):
            if kept := self._kept.get(key):
                if kept.parameters != call.parameters:
                    raise Ec2Error("IdempotentParameterMismatch")
                call.repeated = True
                if self.rules.silent(call.action):
                    return _Ec2Answer(200, ec2_wire.answer(call.action, {}).encode())
                return kept.answer
            answer = await self._carry_out(request, body, call)
            if answer.status < 300:
                self._kept[key] = _KeptAnswer(call.parameters, answer)
            return answer

    async def _carry_out(self, request: web.Request, body: bytes, call: ObservedCall) -> _Ec2Answer:
        match call.service, call.action:
            case "ec2", "CreateFleet":
                result, instances = await Launches(self.ask, self.rules, self.alone).fleet(call.parameters)
                return _Ec2Answer(200, ec2_wire.answer("CreateFleet", result).encode(), instances)
            case "ec2", "RunInstances":
                launches = Launches(self.ask, self.rules, self.alone)
                parameters = await launches.run(call.parameters)
                answer = await self._moto_ec2("RunInstances", parameters)
                launched = ec2_wire.parse_answer("RunInstances", 200, answer.body)["Instances"]
                await launches.finish(parameters, [one["InstanceId"] for one in launched])
                return _Ec2Answer(200, answer.body, tuple(one["InstanceId"] for one in launched))
            case "ec2", "DescribeCapacityReservations":
                return _Ec2Answer(200, ec2_wire.answer(call.action, self._reservations(call.parameters)).encode())
            case "ec2", "DescribeInstances" if self._out(call.parameters):
                raise Ec2Error("Unavailable", "The server is overloaded and can't handle the request.")
            case "ec2", "TerminateInstances":
                answer = await self._pass(request, body)
                ended = tuple(call.parameters.get("InstanceIds", ()))
                return _Ec2Answer(answer.status, answer.body, ended if answer.status < 300 else ())
            case "pricing", "GetProducts":
                page = json.dumps(ec2_pricing.get_products(call.parameters))
                return _Ec2Answer(200, page.encode(), (), "application/x-amz-json-1.1")
            case "ebs", _:
                return await self._ebs_answer(request, body)
            case "servicequotas", "GetServiceQuota":
                code = str(call.parameters["QuotaCode"])
                quota = {"Quota": {"ServiceCode": "ec2", "QuotaCode": code, "Value": self.rules.quotas.get(code, 0.0)}}
                return _Ec2Answer(200, json.dumps(quota).encode(), (), "application/x-amz-json-1.1")
            case service, _:
                return await (
                    self._eks_answer(request, body) if service == "eks" else self._pass(request, body, service)
                )

    async def _page(self, request: web.Request, body: bytes, call: ObservedCall) -> _Ec2Answer:
        scope = _CREDENTIAL.search(request.headers.get("Authorization", ""))
        asked = (scope[1] if scope else REGION, call.action, call.parameters)
        if (page := ec2_pages.page(*asked)) is None:
            answer = await self._pass(request, body)
            if answer.status >= 300:
                return answer
            ec2_pages.remember(*asked, answer.body)
            page = ec2_pages.page(*asked)
        assert page is not None
        return _Ec2Answer(200, page)

    async def _ebs_answer(self, request: web.Request, body: bytes) -> _Ec2Answer:
        ec2_snapshots.check(request.method, request.path, request.headers, body)
        answer = await self._pass(request, body, "ebs")
        ec2_snapshots.follow(request.method, request.path, answer.body)
        return answer

    async def _eks_answer(self, request: web.Request, body: bytes) -> _Ec2Answer:
        async def passed() -> ec2_eks.Answer:
            answer = await self._pass(request, body, "eks")
            return answer.status, answer.body, answer.error

        status, text, error = await self._eks.answer(request.method, request.raw_path, body, passed)
        return _Ec2Answer(status, text, (), "application/json", error)

    def _reservations(self, parameters: dict[str, Any]) -> dict[str, Any]:
        named = parameters.get("CapacityReservationIds", ())
        if unknown := [each for each in named if each not in self.rules.reservations]:
            code = "InvalidCapacityReservationId.NotFound"
            raise Ec2Error(code, f"The capacity reservation ID '{unknown[0]}' does not exist")
        found = [(name, *self.rules.reservations[name]) for name in named]
        keys = ("CapacityReservationId", "InstanceType", "AvailabilityZone", "State")
        return {"CapacityReservations": [dict(zip(keys, each, strict=True)) for each in found]}

    def _out(self, parameters: dict[str, Any]) -> bool:
        """Whether this list is of instances of a zone that is out, or may be."""
        named = {str(each) for each in parameters.get("InstanceIds", ())}
        # moto's threads change it meanwhile.
        every = [one for each in tuple(backend().reservations.values()) for one in each.instances]
        return any(one.placement.zone in self.rules.outage for one in every if not named or str(one.id) in named)

    async def _moto_ec2(self, action: str, parameters: dict[str, Any]) -> _Ec2Answer:
        assert self._session is not None
        headers = {
            "Content-Type": "application/x-www-form-urlencoded; charset=utf-8",
            "Authorization": f"AWS4-HMAC-SHA256 Credential=front/20261124/{REGION}/ec2/aws4_request, "
            "SignedHeaders=host, Signature=0",
        }
        data = ec2_wire.form(action, parameters)
        async with self.alone, self._session.post(self.moto, data=data, headers=headers) as response:
            body = await response.read()
            if response.status >= 300:
                message = re.search(rb"<Message>([^<]*)</Message>", body)
                raise Ec2Error(ec2_wire.error_code(body), message[1].decode() if message else body[:300].decode())
            return _Ec2Answer(response.status, body)

    async def _pass(self, request: web.Request, body: bytes, service: str = "ec2") -> _Ec2Answer:
        """On to moto as it is; what may take its time, as a long poll, does not keep EC2 waiting."""
        assert self._session is not None
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = self.moto + request.path_qs
        turn = self.alone if service == "ec2" else nullcontext()
        try:
            async with turn, self._session.request(request.method, url, data=body, headers=headers) as response:
                kind = response.headers.get("Content-Type", "text/xml")
                return _Ec2Answer(response.status, await response.read(), (), kind, response.headers.get(_ERROR, ""))
        except (ClientConnectionError, RuntimeError):
            # At the end of the test: a long poll whose caller is long gone, or who has waited for a turn.
            if not self._session.closed:
                raise
            return _Ec2Answer(503, b"")


def _named(request: web.Request, body: bytes) -> tuple[str, str]:
    """Service and action of a request, from its signature and its protocol's place for the action."""
    found = _CREDENTIAL.search(request.headers.get("Authorization", ""))
    service = found[2] if found else "ec2"
    target = request.headers.get("X-Amz-Target", "")
    if target:
        return service, target.rpartition(".")[2]
    action = re.search(rb"(?:^|&)Action=([A-Za-z0-9]+)", body)
    return service, action[1].decode() if action else f"{request.method} {request.path}"


def _parameters(service: str, action: str, body: bytes) -> dict[str, Any]:
    if service == "ec2":
        return ec2_wire.parse_request(action, body.decode())
    try:
        return json.loads(body)
    except ValueError:
        return {}


@asynccontextmanager
async def running_front(
    clock: Callable[[], float] = time.monotonic, host: str = "127.0.0.1"
) -> AsyncGenerator[Ec2Front]:
    """EC2 (and what else moto serves, SQS say) at `Front.url`, with an empty account; gone afterwards.

    One at a time in a process: moto keeps its account in global variables.
    """
    moto = await asyncio.to_thread(moto_url)
    async with asyncio.TaskGroup() as tasks, AsyncExitStack() as stack:
        front = Ec2Front(moto, tasks, clock)
        front._session = await stack.enter_async_context(ClientSession(timeout=ClientTimeout(total=120)))
        stack.callback(front.abandon)
        async with front._session.post(f"{front.moto}/moto-api/reset") as done:
            done.raise_for_status()
        await front.ask("DescribeVpcs")  # moto's first answer takes a second or two
        app = web.Application(client_max_size=8 << 20)
        app.router.add_route("*", "/{path:.*}", front.handle)
        runner = web.AppRunner(app, shutdown_timeout=0.2, access_log=None, handler_cancellation=True)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, host, 0)
        await site.start()
        front.url = "http://{}:{}".format(*runner.addresses[0][:2])
        yield front
