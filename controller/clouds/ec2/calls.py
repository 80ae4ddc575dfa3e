"""The one door to AWS: turns, deadlines, retries and counts; botocore's own retries are off.

A call waits for its tokens, is tried, and tried again with growing, scattered pauses where it was throttled, and where
no answer came if repeating it is harmless. Whoever calls for a batch waits once for the whole batch. The SDK is
imported when the door is opened: it weighs 30 MB and half a second.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

from cellwire.faults import Fault, Kind
from controller.clouds.ec2 import errors, partitions
from controller.clouds.ec2.buckets import Buckets, Draw, draws, raised
from controller.clouds.ec2.ec2_settings import Ec2Settings

if TYPE_CHECKING:
    from aiobotocore.session import AioSession

OnCall = Callable[[str, str, str, float], None]
"""Told of each try: service, action, outcome ("ok" or an error code), seconds."""

_FIRST_PAUSE = 0.25
_LONGEST_PAUSE = 8.0
_READS = re.compile(r"^(Describe|Get|List|Search|Receive)")
# Asking twice leaves what asking once leaves.
_REPEATABLE = frozenset(
    {"TerminateInstances", "CreateTags", "DeleteTags", "ReplaceRoute", "PutSnapshotBlock", "CompleteSnapshot"}
)
_CONNECTIONS = 32
_MOST_SAID = 300
_MACHINE = "mend the AWS configuration of this machine (~/.aws, the environment)"
_REGION = 'name one of AWS, as "eu-central-1" (cloud.ec2.region)'
_LOG_IN = 'log in again ("aws sso login"), or use credentials that last'
_ROLE = "give the controller's machine a role, or name a profile with cloud.ec2.key_profile"
OWN_LIMIT = "OwnLimit"


class Door(Protocol):
    """What is asked of `controller.clouds.ec2.calls.Calls`."""

    async def call(self, service: str, action: str, /, *, resources: int = 1, **params: Any) -> dict[str, Any]:
        """Ask AWS. Raises Fault."""
        ...

    def pages(self, service: str, action: str, result_key: str, /, **params: Any) -> AsyncIterator[dict[str, Any]]:
        """Each item of a listing. Raises Fault."""
        ...


class Calls:
    """See the module. Made by `running`."""

    def __init__(self, settings: Ec2Settings, session: Any, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._session = session
        self._stack = stack
        self._clients: dict[str, Any] = {}
        self._opening = asyncio.Lock()
        self._buckets = Buckets()
        self._limits = raised(settings.api_limits)
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """Tries by service, action and outcome."""
        self.on_call: OnCall = _nobody

    async def call(self, service: str, action: str, /, *, resources: int = 1, **params: Any) -> dict[str, Any]:
        """Ask AWS, with the action as on the wire ("ec2", "CreateFleet"). Raises Fault, its `reason` the error code.

        `resources` is how many instances the call launches or ends. "ecr@eu-west-1" asks another region than ours.
        """
        await self._client(service)  # half a second for the first, which is not the call's
        limit = self._settings.patience_seconds + _long_poll(params)
        try:
            async with asyncio.timeout(limit) as patience:
                return await self._persist(service, action, resources, params, patience)
        except TimeoutError as error:
            cause = f"no answer within {limit:g} s"
            raise errors.unanswered(service, action, cause) from error

    def throttled(self, action: str, parameters: dict[str, Any], resources: int) -> None:
        """A call of EC2's was answered, but with throttling inside: what it launches draws tokens of its own."""
        wanted = draws("ec2", action, parameters, resources, self._limits)
        self._buckets.refused(wanted[1:] or wanted, time.monotonic())

    async def pages(
        self, service: str, action: str, result_key: str, /, **params: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Each item of a listing, page by page. Raises Fault."""
        token: dict[str, Any] = {}
        while True:
            page = await self.call(service, action, **params, **token)
            for item in cast("list[dict[str, Any]]", page.get(result_key) or []):
                yield item
            if not page.get("NextToken"):
                return
            token = {"NextToken": page["NextToken"]}

    async def _persist(
        self, service: str, action: str, resources: int, params: dict[str, Any], patience: asyncio.Timeout
    ) -> dict[str, Any]:
        wanted = draws(service, action, params, resources, self._limits)
        harmless = bool(_READS.match(action)) or action in _REPEATABLE or "ClientToken" in params
        harmless = harmless or action.startswith(("Delete", "Modify"))
        pause = _FIRST_PAUSE
        doubt: Fault | None = None
        while True:
            try:
                waited = await self._turn(wanted, patience)
                answer = await self._try(service, action, params)
                if waited:
                    self._buckets.passed(wanted, time.monotonic())
                return answer
            except Fault as fault:
                throttled = fault.reason in errors.THROTTLES
                if errors.uncertain(fault):
                    doubt = fault
                # Turned away now, an earlier try may have been carried out: the outcome is open.
                told = doubt if doubt is not None and (throttled or fault.reason == OWN_LIMIT) else fault
                if not throttled and not (harmless and fault is doubt):
                    raise told from fault
                ends = patience.when()
                if ends is not None and asyncio.get_running_loop().time() + pause >= ends:
                    raise told from fault  # whoever waits is told why, not that time ran out
                if throttled:
                    self._buckets.refused(wanted, time.monotonic())
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 # scatter, no secret
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _turn(self, wanted: tuple[Draw, ...], patience: asyncio.Timeout) -> bool:
        """Wait for tokens; whether that took any time."""
        wait = self._buckets.take(wanted, time.monotonic())
        ends = patience.when()
        try:
            if ends is not None and asyncio.get_running_loop().time() + wait >= ends:
                cause = f"the limit of EC2's API lets it through in {wait:.0f} s only"
                raise Fault(Kind.UNAVAILABLE, wanted[0].bucket, cause, "it is asked again", reason=OWN_LIMIT)
            if wait > 0:
                await asyncio.sleep(wait)
            return wait > 0
        except (asyncio.CancelledError, Fault):
            self._buckets.give_back(wanted, time.monotonic())
            raise

    async def _try(self, service: str, action: str, params: dict[str, Any]) -> dict[str, Any]:
        begun = time.monotonic()
        outcome = "cancelled"
        try:
            answer = await self._ask(service, action, params)
            outcome = "ok"
            return answer
        except Fault as fault:
            outcome = fault.reason or fault.kind.value
            raise
        finally:
            self.counts[service, action, outcome] += 1
            self.on_call(service, action, outcome, time.monotonic() - begun)

    async def _ask(self, service: str, action: str, params: dict[str, Any]) -> dict[str, Any]:
        import botocore  # noqa: PLC0415 # see the module
        import botocore.exceptions as sdk  # noqa: PLC0415
        from botocore.parsers import ResponseParserError  # noqa: PLC0415

        client = await self._client(service)
        limit = self._settings.call_seconds + _long_poll(params)
        try:
            async with asyncio.timeout(limit):
                return cast("dict[str, Any]", await getattr(client, botocore.xform_name(action))(**params))
        except sdk.ClientError as error:
            told = cast("dict[str, Any]", error.response.get("Error", {}))
            name = service.partition("@")[0]
            fault = errors.fault_of(name, action, str(told.get("Code", "")), str(told.get("Message", "")))
            status = cast("dict[str, Any]", error.response.get("ResponseMetadata", {})).get("HTTPStatusCode", 0)
            if status >= 500 and fault.kind is Kind.INVALID:
                # A code that nobody knows, of a server that does not know either.
                raise errors.unanswered(name, action, fault.cause) from error
            raise fault from error
        except TimeoutError as error:
            raise errors.unanswered(service, action, f"no answer within {limit:g} s") from error
        except ResponseParserError as error:
            # Of a proxy or load balancer on the way ("no healthy upstream"), or cut off: whether the call was carried
            # out, only AWS knows.
            said = " ".join(str(error).split())[:_MOST_SAID]
            raise errors.unanswered(service, action, f"the answer is none of AWS's: {said}") from error
        except sdk.BotoCoreError as error:
            raise await self._unsent(error, service, action) from error
        except OSError as error:
            raise errors.unanswered(service, action, str(error) or type(error).__name__) from error

    async def _unsent(self, error: Exception, service: str, action: str) -> Fault:
        """What an error of the SDK's own amounts to: no answer came, or nothing was asked."""
        import botocore.exceptions as sdk  # noqa: PLC0415 # see the module

        thing, said = f"{service} {action}", str(error) or type(error).__name__
        match error:
            case sdk.NoCredentialsError() | sdk.PartialCredentialsError() | sdk.CredentialRetrievalError():
                return Fault(Kind.DENIED, thing, said, _ROLE, reason="NoCredentials")
            case sdk.SSOError() | sdk.TokenRetrievalError():
                return Fault(Kind.DENIED, thing, said, _LOG_IN, reason="NoCredentials")
            case sdk.ParamValidationError():
                return Fault(Kind.INVALID, thing, said, reason="ParamValidation")
            case sdk.EndpointConnectionError() if not self._settings.endpoint_url:
                region = _region(service, self._settings)
                # One that is newer than the SDK is there, and answers.
                if region not in await asyncio.to_thread(known_regions):
                    return Fault(Kind.INVALID, f"region {region!r}", said, _REGION)
            case _:
                pass
        return errors.unanswered(service, action, said)

    async def _client(self, service: str) -> Any:
        async with self._opening:
            if service not in self._clients:
                region = _region(service, self._settings)
                made = self._session.create_client(
                    service.partition("@")[0],
                    region_name=region,
                    endpoint_url=self._settings.endpoint_url or None,
                    config=_config(self._settings),
                )
                with _said(service, region, self._settings.endpoint_url):
                    self._clients[service] = await self._stack.enter_async_context(made)
            return self._clients[service]


@cache
def known_regions() -> frozenset[str]:
    """All regions that have ECR, which is all, of every partition, as the SDK knows them. Blocks for tenths of a
    second, once.
    """
    import botocore.session  # noqa: PLC0415 # see the module

    sdk = botocore.session.Session()
    return frozenset(
        region
        for partition in sdk.get_available_partitions()
        for region in sdk.get_available_regions("ecr", partition_name=partition)
    )


@contextmanager
def _said(service: str, region: str, endpoint: str) -> Generator[None]:
    """What keeps the SDK from asking a service at all, as faults."""
    import botocore.exceptions as sdk  # noqa: PLC0415 # see the module

    try:
        yield
    except sdk.InvalidRegionError as error:
        raise Fault(Kind.INVALID, f"region {region!r}", str(error), _REGION) from error
    except (sdk.PartialCredentialsError, sdk.CredentialRetrievalError) as error:
        raise Fault(Kind.DENIED, f"{service} credentials", str(error), _ROLE, reason="NoCredentials") from error
    except sdk.BotoCoreError as error:
        raise Fault(Kind.INVALID, service, str(error), _MACHINE) from error
    except ValueError as error:
        mend = "leave cloud.ec2.endpoint_url out, or name a URL"
        raise Fault(Kind.INVALID, f"endpoint {endpoint!r} of {service}", str(error), mend) from error


def _long_poll(params: dict[str, Any]) -> float:
    """The seconds for which a call is meant to say nothing."""
    return float(params.get("WaitTimeSeconds", 0))


def _nobody(service: str, action: str, outcome: str, seconds: float) -> None:
    del service, action, outcome, seconds


def _region(service: str, settings: Ec2Settings) -> str:
    if elsewhere := service.partition("@")[2]:
        return elsewhere
    # The price list is served in few regions, and tells of all of the partition.
    return partitions.of(settings.region).prices if service == "pricing" else settings.region


def _config(settings: Ec2Settings) -> Any:
    from aiobotocore.config import AioConfig  # noqa: PLC0415 # see the module

    return AioConfig(
        retries={"total_max_attempts": 1, "mode": "standard"},
        connect_timeout=min(5.0, settings.call_seconds),
        read_timeout=settings.call_seconds + 25.0,
        max_pool_connections=_CONNECTIONS,
        tcp_keepalive=True,
    )


@cache
def _descriptions() -> Any:
    """The SDK's descriptions of AWS's services: megabytes of JSON, which all sessions of a process share."""
    from botocore.loaders import Loader  # noqa: PLC0415 # see the module

    return Loader()


def sdk_session(profile: str = "") -> AioSession:
    """A session of the SDK with the credentials of a profile, or with those that are found."""
    from aiobotocore.session import AioSession  # noqa: PLC0415 # see the module

    # What keeps it from credentials it warns of with a traceback, and raises as well.
    logging.getLogger("aiobotocore").setLevel(logging.ERROR)
    session = AioSession(profile=profile or None)
    session.register_component("data_loader", _descriptions())
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=moment)
    return session


def moment(told: Any) -> datetime:
    """A time as AWS writes it. Lists of spot prices and images have thousands, almost all in ISO 8601. The SDK reads
    whatever people write, which takes half of the time that such a list takes.
    """
    from botocore.utils import parse_timestamp  # noqa: PLC0415 # see the module

    if isinstance(told, str) and told.endswith("Z"):
        with suppress(ValueError):
            return datetime.fromisoformat(told)
    return parse_timestamp(told)


@asynccontextmanager
async def running(settings: Ec2Settings) -> AsyncGenerator[Calls]:
    """The door, open. Raises Fault INVALID for a profile that is not there."""
    import botocore.exceptions as sdk  # noqa: PLC0415 # see the module

    session = sdk_session(settings.key_profile)
    try:
        session.get_scoped_config()
    except sdk.ProfileNotFound as error:
        mend = "name one of the shared AWS configuration, or none"
        raise Fault(Kind.INVALID, f"cloud.ec2.key_profile {settings.key_profile}", str(error), mend) from error
    except sdk.BotoCoreError as error:
        raise Fault(Kind.INVALID, "AWS configuration", str(error), _MACHINE) from error
    async with AsyncExitStack() as stack:
        yield Calls(settings, session, stack)
