"""A small service that does what a test asks of it, and both event loops."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvloop

from cellwire.cell.v1 import cell_grpc
from cellwire.cell.v1 import cell_pb2 as wire


def pytest_asyncio_loop_factories(config: pytest.Config, item: pytest.Item) -> dict[str, Any]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


class Told(cell_grpc.CellBase):
    """ReadFile does `unary`, Logs does `stream`; all else is refused by grpclib."""

    def __init__(self) -> None:
        self.unary: Callable[[Any], Any] = self._echo
        self.stream: Callable[[Any], Any] = self._echo

    async def _echo(self, stream: Any) -> None:
        request = await stream.recv_message()
        await stream.send_message(wire.ReadFileReply(data=request.path.encode()))

    async def ReadFile(self, stream: Any) -> None:
        await self.unary(stream)

    async def Logs(self, stream: Any) -> None:
        await self.stream(stream)

    async def Report(self, stream: Any) -> None: ...
    async def Exec(self, stream: Any) -> None: ...
    async def Attach(self, stream: Any) -> None: ...
    async def PortForward(self, stream: Any) -> None: ...
    async def MakeContainer(self, stream: Any) -> None: ...
    async def PutFiles(self, stream: Any) -> None: ...
    async def Services(self, stream: Any) -> None: ...
    async def DialWorker(self, stream: Any) -> None: ...
    async def TrimLog(self, stream: Any) -> None: ...

    async def DiskUsage(self, stream: Any) -> None: ...

    async def MountFolder(self, stream: Any) -> None: ...


@pytest.fixture
def told() -> Told:
    return Told()
