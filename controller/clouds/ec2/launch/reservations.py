"""Of which type and in which zone a capacity reservation is: a pod that names one need not say it as well."""

from __future__ import annotations

import time
from collections.abc import Mapping

import structlog

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.ec2_settings import PREFIX
from controller.clouds.ec2.network.environment import Ec2Environment
from controller.clouds.protocol import Reserved

log = structlog.get_logger()
ANNOTATION = f"{PREFIX}capacity-reservation"
# Neither type nor zone of one changes, but it may end.
KEPT_SECONDS = 300.0
_MOST_KEPT = 1000


class Reservations:
    """Capacity reservations of the account, as far as they are known."""

    def __init__(self, calls: Calls, place: Ec2Environment) -> None:
        self._calls = calls
        self._zones = frozenset(place.zones.values())
        self._known: dict[str, tuple[float, Reserved]] = {}

    async def named(self, annotations: Mapping[str, str]) -> Reserved | None:
        """The reservation that annotations name; None for none, for a group of several, and where the role may not ask.
        Raises Fault.
        """
        name = annotations.get(ANNOTATION, "").strip()
        if not name.startswith("cr-"):
            return None
        at, known = self._known.get(name, (float("-inf"), None))
        if known is not None and time.monotonic() - at < KEPT_SECONDS:
            return known
        try:
            answer = await self._calls.call("ec2", "DescribeCapacityReservations", CapacityReservationIds=[name])
        except Fault as fault:
            if fault.kind is Kind.DENIED:
                log.warning(
                    "a capacity reservation cannot be looked at; its pod must say type and zone", cause=str(fault)
                )
                return None
            if fault.kind in {Kind.NOT_FOUND, Kind.INVALID}:
                mend = "name one of this account and region"
                raise Fault(Kind.INVALID, f"capacity reservation {name}", fault.cause, mend) from fault
            raise
        found = self._read(name, (answer.get("CapacityReservations") or [{}])[0])
        if len(self._known) >= _MOST_KEPT:
            self._known.clear()
        self._known[name] = (time.monotonic(), found)
        return found

    def _read(self, name: str, told: Mapping[str, object]) -> Reserved:
        state, zone = str(told.get("State") or "unknown"), str(told.get("AvailabilityZone") or "")
        if state != "active":
            mend = "name one that is active"
            raise Fault(Kind.INVALID, f"capacity reservation {name}", f"its state is {state}", mend)
        if zone not in self._zones:
            mend = "name one in a zone of cloud.ec2.subnets, or add a subnet there"
            raise Fault(Kind.INVALID, f"capacity reservation {name}", f"it is in {zone}, where no subnet is", mend)
        return Reserved(type=str(told.get("InstanceType") or ""), zone=zone)
