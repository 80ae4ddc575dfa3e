"""cell.v1's Cell on this machine: sessions, logs and files for the controller. Reports come from the link room."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from grpclib.server import Stream

from cellagent.runtime.answering import received
from cellagent.runtime.creation import CarriedFile
from cellagent.runtime.file_servers import FileServers
from cellagent.runtime.room import RuntimeRoom
from cellagent.runtime.stats.folder_walk import FolderSizes
from cellwire.cell.v1 import cell_pb2 as wire
from cellwire.cell.v1.cell_grpc import CellBase
from cellwire.faults import Fault, Kind
from cellwire.stream.service import SessionService

Reporting = Callable[[Stream[wire.ReportRequest, wire.ReportMessage]], Awaitable[None]]
DialWorker = Callable[[wire.DialWorkerRequest], None]


class CellService(CellBase):
    """The handler. `reporting` answers Report; `dial_worker` is told which worker is to be dialled beside the
    controller.
    """

    def __init__(self, room: RuntimeRoom, reporting: Reporting, dial_worker: DialWorker) -> None:
        self._room = room
        self._reporting = reporting
        self._dial_worker = dial_worker
        self._sessions = SessionService(room.backend)
        self._held = FolderSizes(time.monotonic)
        self._file_servers = FileServers()

    async def Report(self, stream: Stream[wire.ReportRequest, wire.ReportMessage]) -> None:
        await self._reporting(stream)

    async def Exec(self, stream: Stream[wire.SessionInput, wire.SessionOutput]) -> None:
        await self._sessions.Exec(stream)

    async def Attach(self, stream: Stream[wire.SessionInput, wire.SessionOutput]) -> None:
        await self._sessions.Attach(stream)

    async def PortForward(self, stream: Stream[wire.PortForwardInput, wire.PortForwardOutput]) -> None:
        await self._sessions.PortForward(stream)

    async def Logs(self, stream: Stream[wire.LogsRequest, wire.LogChunk]) -> None:
        request = await received(stream)
        async for chunk in self._room.logs(request.container_id, request.offset, follow=request.follow):
            await stream.send_message(
                wire.LogChunk(offset=chunk.offset, data=chunk.data, end=chunk.end, gone=chunk.gone)
            )

    async def TrimLog(self, stream: Stream[wire.TrimLogRequest, wire.TrimLogReply]) -> None:
        request = await received(stream)
        await self._room.trim_log(request.container_id, request.offset)
        await stream.send_message(wire.TrimLogReply())

    async def MakeContainer(self, stream: Stream[wire.MakeContainerRequest, wire.MakeContainerReply]) -> None:
        request = await received(stream)
        carried = CarriedFile(request.carried_path, request.carried) if request.carried else None
        status = await self._room.make_container(request.container_id, request.asked, carried)
        await stream.send_message(wire.MakeContainerReply(status=status))

    async def PutFiles(self, stream: Stream[wire.PutFilesInput, wire.PutFilesReply]) -> None:
        first = await received(stream)
        if not first.HasField("start"):
            raise Fault(Kind.INVALID, "PutFiles", "its first message is not start")
        tree = self._room.tree(first.start.folder, keep_existing=first.start.keep_existing)
        try:
            async for message in stream:
                match message.WhichOneof("input"):
                    case "entry":
                        tree.begin(message.entry)
                    case "data":
                        tree.data(message.data)
                    case "commit":
                        self._room.remove_later(tree.commit())
                        await stream.send_message(wire.PutFilesReply(entries=tree.entries))
                        return
                    case _:
                        raise Fault(Kind.INVALID, "PutFiles", "a message came that has no place here")
            raise Fault(Kind.UNAVAILABLE, "PutFiles", "it ended before commit; nothing has changed", "put them again")
        finally:
            tree.drop()

    async def Services(self, stream: Stream[wire.ServicesInput, wire.ServicesOutput]) -> None:
        first = await received(stream)
        if not first.HasField("start"):
            raise Fault(Kind.INVALID, "Services", "its first message is not start")
        if self._room.holding is None:
            raise Fault(Kind.UNSUPPORTED, "Services", "this cell has no address for a pod")
        await self._room.holding.serve(first.start, aiter(stream), stream.send_message)

    async def ReadFile(self, stream: Stream[wire.ReadFileRequest, wire.ReadFileReply]) -> None:
        request = await received(stream)
        await stream.send_message(wire.ReadFileReply(data=self._room.read_file(request.path, request.limit)))

    async def DiskUsage(self, stream: Stream[wire.DiskUsageRequest, wire.DiskUsageReply]) -> None:
        request = await received(stream)
        await stream.send_message(wire.DiskUsageReply(bytes=[await self._held.of(one) for one in request.folders]))

    async def MountFolder(self, stream: Stream[wire.MountFolderRequest, wire.MountFolderReply]) -> None:
        await self._file_servers.mount(await received(stream))
        await stream.send_message(wire.MountFolderReply())

    async def DialWorker(self, stream: Stream[wire.DialWorkerRequest, wire.DialWorkerReply]) -> None:
        self._dial_worker(await received(stream))
        await stream.send_message(wire.DialWorkerReply())
