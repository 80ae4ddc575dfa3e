"""Pods over the API of a controller, asked as cheaply as can be and again where it is away for a while."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import yaml

from tests.support.controller import Controller

PODS = "/api/v1/namespaces/default/pods"
# What a client meets when the controller under it is killed, stands still or starts.
_PASSING = frozenset({429, 500, 502, 503, 504})
_ONE_CALL = aiohttp.ClientTimeout(total=20)
_PATIENCE = 180.0


class Client:
    """Asks until it is answered."""

    def __init__(self, session: aiohttp.ClientSession, server: str, admin: aiohttp.ClientSession) -> None:
        self._session = session
        self._server = server
        self._admin = admin

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """The status and what came. Raises TimeoutError where there is no answer in three minutes."""
        return await self._asked(self._session, method, self._server + path, body)

    async def cells(self) -> list[dict[str, Any]]:
        """What `chinampa cells` tells."""
        status, content = await self._asked(self._admin, "GET", "http://controller/cells", None)
        assert status == 200, content
        return json.loads(content)

    async def _asked(self, session: aiohttp.ClientSession, method: str, url: str, body: Any) -> tuple[int, bytes]:
        async with asyncio.timeout(_PATIENCE):
            while True:
                try:
                    async with session.request(method, url, json=body) as reply:
                        content = await reply.read()
                        if reply.status not in _PASSING:
                            return reply.status, content
                except (aiohttp.ClientError, TimeoutError, ConnectionError):
                    pass
                await asyncio.sleep(0.3)

    async def create(self, manifest: dict[str, Any]) -> None:
        """Create a pod; one that is there was created by a call whose answer was lost."""
        status, content = await self.ask("POST", PODS, manifest)
        assert status in {201, 409}, content

    async def pods(self) -> dict[str, dict[str, Any]]:
        """All pods, by name."""
        status, content = await self.ask("GET", PODS)
        assert status == 200, content
        return {pod["metadata"]["name"]: pod for pod in json.loads(content)["items"]}

    async def delete(self, name: str) -> None:
        """Delete a pod; one that is gone already is fine."""
        status, content = await self.ask("DELETE", f"{PODS}/{name}")
        assert status in {200, 202, 404}, content

    async def log(self, name: str) -> list[str]:
        """The lines of its one container."""
        status, content = await self.ask("GET", f"{PODS}/{name}/log")
        assert status == 200, (name, status, content)
        return content.decode().splitlines()

    async def events(self, name: str) -> list[str]:
        """What was told of a pod."""
        status, content = await self.ask("GET", "/api/v1/namespaces/default/events")
        assert status == 200, content
        return [
            f"{event['reason']}: {event['message']}"
            for event in json.loads(content)["items"]
            if event["involvedObject"]["name"] == name
        ]


@asynccontextmanager
async def client_of(controller: Controller) -> AsyncGenerator[Client]:
    """A client by the controller's kubeconfig."""
    config = yaml.safe_load(controller.kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    # The kubeconfig names whom the certificate is for; the address is another.
    trust.check_hostname = False
    headers = {"Authorization": f"Bearer {user['token']}"}
    connector = aiohttp.TCPConnector(ssl=trust, force_close=True)
    beside = aiohttp.UnixConnector(str(controller.folder / "state" / "admin.sock"), force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector, headers=headers, timeout=_ONE_CALL) as session,
        aiohttp.ClientSession(connector=beside, timeout=_ONE_CALL) as admin,
    ):
        yield Client(session, cluster["server"], admin)
