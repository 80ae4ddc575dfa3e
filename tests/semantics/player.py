"""What a scenario says of a plane: objects by name, pods and how they are, and waiting for what must come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.semantics.planes import Json, Plane

SECONDS = 60.0


def now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Player:
    """A plane, and the hands of a kubelet."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane

    async def create(self, key: str, one: Json) -> None:
        await self.plane.create(key, one)

    async def spec(self, key: str, name: str, **fields: Any) -> None:
        """Change fields of the spec."""
        await self.plane.change(key, name, lambda one: {**one, "spec": {**one["spec"], **fields}})

    async def find(self, key: str, name: str) -> Json | None:
        return next((one for one in await self.plane.list(key) if one["metadata"]["name"] == name), None)

    async def gone(self, key: str, name: str) -> None:
        """Wait until there is no such object."""

        async def there() -> bool:
            return await self.find(key, name) is None

        await self.until(f"the end of {key} {name}", there)

    async def pods(self, app: str) -> list[Json]:
        """The pods with this label that are not on their way out, by name."""
        listed = [
            one for one in await self.plane.list("pods") if (one["metadata"].get("labels") or {}).get("app") == app
        ]
        staying = [one for one in listed if not one["metadata"].get("deletionTimestamp")]
        return sorted(staying, key=lambda one: one["metadata"]["name"])

    async def active(self, app: str) -> list[Json]:
        return [one for one in await self.pods(app) if phase(one) not in {"Succeeded", "Failed"}]

    async def until(self, what: str, there: Callable[[], Any], seconds: float = SECONDS) -> Any:
        """Wait for something that must be asked for; its worth."""
        try:
            async with asyncio.timeout(seconds):
                while not (found := await there()):
                    await asyncio.sleep(0.05)
                return found
        except TimeoutError:
            raise AssertionError(f"{what} never came") from None

    async def status(self, key: str, name: str, **wanted: Any) -> Json:
        """Wait until a status has these values; absent counts as 0."""
        last: Json = {}

        async def there() -> Json | None:
            nonlocal last
            one = await self.find(key, name)
            last = (one or {}).get("status") or {}
            return last if one and all((last.get(field) or 0) == value for field, value in wanted.items()) else None

        try:
            return await self.until(f"{wanted}", there)
        except AssertionError:
            raise AssertionError(f"{key} {name} is never {wanted}, but {last}") from None

    async def condition(self, key: str, name: str, kind: str, status: str = "True", **wanted: str) -> Json:
        """Wait until an object has a condition."""
        last: Any = None

        async def there() -> Json | None:
            nonlocal last
            one = await self.find(key, name)
            last = ((one or {}).get("status") or {}).get("conditions") or []
            for each in last:
                right = all(each.get(field) == value for field, value in wanted.items())
                if each["type"] == kind and each["status"] == status and right:
                    return each
            return None

        try:
            return await self.until(kind, there)
        except AssertionError:
            raise AssertionError(f"{key} {name} never has {kind}={status} {wanted}, but {last}") from None

    async def count(self, app: str, number: int) -> list[Json]:
        """Wait until so many pods are active, and stay so for a moment."""
        last: list[Json] = []

        async def there() -> bool:
            nonlocal last
            last = await self.active(app)
            return len(last) == number

        for _ in range(2):
            try:
                await self.until(f"{number} pods", there)
            except AssertionError:
                names = [one["metadata"]["name"] for one in last]
                raise AssertionError(f"never {number} active pods of {app}, but {names}") from None
            await asyncio.sleep(0.3)
        return last

    async def ready(self, pod: Json) -> None:
        """The pod runs and is ready."""
        container = pod["spec"]["containers"][0]["name"]
        state = {"name": container, "ready": True, "restartCount": 0, "image": "x", "imageID": "x", "started": True}
        running = {**state, "state": {"running": {"startedAt": now()}}}
        conditions = [
            {"type": kind, "status": "True", "lastTransitionTime": now()} for kind in ("Ready", "ContainersReady")
        ]
        await self.plane.tell(
            pod["metadata"]["name"],
            {"phase": "Running", "startTime": now(), "conditions": conditions, "containerStatuses": [running]},
        )

    async def ended(self, pod: Json, code: int = 0) -> None:
        """The pod's container ended, and with it the pod."""
        container = pod["spec"]["containers"][0]["name"]
        moments = {"startedAt": now(), "finishedAt": now()}
        over = {"exitCode": code, "reason": "Completed" if code == 0 else "Error", **moments}
        one = {"name": container, "ready": False, "restartCount": 0, "image": "x", "imageID": "x"}
        status = {"phase": "Failed" if code else "Succeeded", "startTime": now()}
        await self.plane.tell(
            pod["metadata"]["name"], {**status, "containerStatuses": [{**one, "state": {"terminated": over}}]}
        )

    async def all_ready(self, app: str, number: int) -> list[Json]:
        """So many pods are there, and ready."""
        found = await self.count(app, number)
        for pod in found:
            if not is_ready(pod):
                await self.ready(pod)
        return found


def phase(pod: Json) -> str:
    return (pod.get("status") or {}).get("phase", "Pending")


def is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
