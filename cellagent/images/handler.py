"""CRI's ImageService over the store and the puller. Holds no state of its own."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from cellagent.images.image_source import Image
from cellagent.images.messages import Credentials
from cellagent.images.store import ImageStore
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import ImageServiceBase
from cellwire.faults import Fault, Kind
from cellwire.rpc.status import error_of

_Request = TypeVar("_Request")
_Reply = TypeVar("_Reply")

STREAM_IMAGES = 100
"""Images in one message of StreamImages."""


class ImageService(ImageServiceBase):
    """The handler. `pull` takes a reference and credentials."""

    def __init__(self, store: ImageStore, pull: Callable[[str, Credentials], Awaitable[Image]]) -> None:
        self._store = store
        self._pull = pull

    async def ListImages(self, stream: Stream[cri.ListImagesRequest, cri.ListImagesResponse]) -> None:
        async with _answering(stream) as request:
            await stream.send_message(cri.ListImagesResponse(images=self._listed(request.filter)))

    async def StreamImages(self, stream: Stream[cri.StreamImagesRequest, cri.StreamImagesResponse]) -> None:
        async with _answering(stream) as request:
            images = self._listed(request.filter)
            for start in range(0, len(images), STREAM_IMAGES):
                await stream.send_message(cri.StreamImagesResponse(images=images[start : start + STREAM_IMAGES]))
            if not images:
                await stream.send_initial_metadata()

    async def ImageStatus(self, stream: Stream[cri.ImageStatusRequest, cri.ImageStatusResponse]) -> None:
        async with _answering(stream) as request:
            try:
                image = self._store.find(request.image.image)
            except Fault as fault:
                if fault.kind is not Kind.NOT_FOUND:
                    raise
                await stream.send_message(cri.ImageStatusResponse())
                return
            info = self._info(image) if request.verbose else {}
            await stream.send_message(cri.ImageStatusResponse(image=told(image), info=info))

    async def PullImage(self, stream: Stream[cri.PullImageRequest, cri.PullImageResponse]) -> None:
        async with _answering(stream) as request:
            image = await self._pull(request.image.image, _credentials(request.auth))
            await stream.send_message(cri.PullImageResponse(image_ref=image.id))

    async def RemoveImage(self, stream: Stream[cri.RemoveImageRequest, cri.RemoveImageResponse]) -> None:
        async with _answering(stream) as request:
            self._store.remove(request.image.image)
            await stream.send_message(cri.RemoveImageResponse())

    async def ImageFsInfo(self, stream: Stream[cri.ImageFsInfoRequest, cri.ImageFsInfoResponse]) -> None:
        async with _answering(stream):
            used, inodes = self._store.usage()
            usage = cri.FilesystemUsage(
                timestamp=time.time_ns(),
                fs_id=cri.FilesystemIdentifier(mountpoint=str(self._store.root)),
                used_bytes=cri.UInt64Value(value=used),
                inodes_used=cri.UInt64Value(value=inodes),
            )
            await stream.send_message(cri.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage]))

    def _listed(self, wanted: cri.ImageFilter) -> list[cri.Image]:
        if not wanted.image.image:
            return [told(image) for image in self._store.images()]
        try:
            return [told(self._store.find(wanted.image.image))]
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise
            return []

    def _info(self, image: Image) -> dict[str, str]:
        info = {"chainID": self._store.top(image.id), "imageSpec": None}
        try:
            return {"info": json.dumps({**info, "imageSpec": json.loads(self._store.raw(image.id))})}
        except RecursionError:  # it was read in a process that has less on its stack
            return {"info": json.dumps(info)}


def told(image: Image) -> cri.Image:
    """`image` in CRI's words."""
    user = image.config.user.partition(":")[0]
    numeric = user.isascii() and user.isdigit() and len(user) < 19
    return cri.Image(
        id=image.id,
        repo_tags=image.tags,
        repo_digests=image.digests,
        size=image.size,
        uid=cri.Int64Value(value=int(user)) if numeric else None,
        username="" if numeric else user,
        pinned=image.pinned,
    )


def _credentials(auth: cri.AuthConfig) -> Credentials:
    return Credentials(
        username=auth.username,
        password=auth.password,
        auth=auth.auth,
        server_address=auth.server_address,
        identity_token=auth.identity_token,
        registry_token=auth.registry_token,
    )


@asynccontextmanager
async def _answering(stream: Stream[_Request, _Reply]) -> AsyncGenerator[_Request]:
    """The request of a call; a Fault inside becomes the call's status."""
    request = await stream.recv_message()
    if request is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "the call holds no request")
    try:
        yield request
    except Fault as fault:
        raise error_of(fault) from fault
