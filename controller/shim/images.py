"""CRI's ImageService for a kubelet whose pods each have a machine of their own.

A kubelet asks ImageStatus without saying for which pod, and every cell starts with no images. So an image is never
present until it is pulled with a pod's sandbox config: the kubelet is led to PullImage, with that pod's credentials,
for every container. A pull of what the pod's cell already has is answered by the cell within a round trip. Only what
a person pulled without a pod counts as present (`stock`), and to a pod that may not pull (imagePullPolicy Never) what
its own cell was given: by its machine image, or while it was warm. A kubelet sends the pod's annotations along, among
them the moment at which it has seen the pod first, by which the pod is known.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from grpclib.server import Stream

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import ImageServiceBase
from cellwire.faults import Fault, Kind
from controller.choice.architectures import locate
from controller.sandboxes.memory import SHORTEST_PREFIX
from controller.sandboxes.records import SandboxRecord
from controller.sandboxes.room import SandboxRoom
from controller.sandboxes.sandbox_lifecycle import pod_of
from controller.shim.patience import PullBackoff
from controller.shim.replies import answer, pages
from controller.shim.stock import Stock

log = structlog.get_logger()
SEEN = "kubernetes.io/config.seen"
# A kubelet takes a list of 16 MiB, of all pods of its node; of an image it shows five names.
MOST_NAMES, LONGEST_NAME = 16, 512


class Images:
    """Pulls go to the pod's cell; lists are answered from what was pulled."""

    def __init__(
        self,
        room: SandboxRoom,
        stock: Stock,
        folder: str,
        patience: PullBackoff,
        never: Callable[[str], tuple[str, ...]],
    ) -> None:
        self._room = room
        self._stock = stock
        self._folder = folder
        self._patience = patience
        self._never = never
        self._known: dict[str, cri.Image] = {}

    async def present(self, wanted: cri.ImageFilter) -> tuple[cri.Image, ...]:
        """Images without a pod, and those that a sandbox of ours has pulled and that are still in use."""
        used = {
            image for record in self._room.memory.sandboxes() if not record.released for image in record.pulled.values()
        }
        for unused in self._known.keys() - used:
            del self._known[unused]
        known = self._known | {image.id: image for image in await self._stock.list()}
        return tuple(image for image in known.values() if _matches(wanted, image))

    async def status(self, request: cri.ImageStatusRequest) -> cri.ImageStatusResponse:
        """An image that was pulled without a pod, or that a pod which may not pull has on its cell; none otherwise.
        Raises Fault where more than the image is asked, or the pod's cell does not answer.
        """
        if request.verbose:
            return await self._stock.described(request.image)
        return cri.ImageStatusResponse(image=await self._in_stock(request.image) or await self._given(request.image))

    async def _given(self, spec: cri.ImageSpec) -> cri.Image | None:
        """The image on the cell of the pod that asks, if that pod may not pull it."""
        seen = spec.annotations.get(SEEN)
        for uid in self._never(spec.image) if seen else ():
            for sandbox in self._room.memory.sandboxes():
                config = cri.PodSandboxConfig.FromString(sandbox.config) if sandbox.uid == uid else None
                if config is None or sandbox.released or config.annotations.get(SEEN) != seen:
                    continue
                found = await self._room.containers.on(sandbox.cell).image(spec.image)
                if found is not None:
                    await self._room.pulling.allow(sandbox.id, spec.image, found.id)
                return found
        return None

    async def remove(self, spec: cri.ImageSpec) -> None:
        """Remove an image without a pod; a pod's own ends with its cell. Raises Fault."""
        await self._stock.remove(spec)

    async def bring(self, sandbox: SandboxRecord, spec: cri.ImageSpec, config: cri.PodSandboxConfig) -> None:
        """Have the sandbox's cell pull, without credentials, an image that is here without a pod. Raises Fault."""
        found = await self._in_stock(spec)
        names = [*found.repo_tags, *found.repo_digests] if found is not None else []
        if not names:
            raise Fault(
                Kind.PRECONDITION,
                f"image {spec.user_specified_image or spec.image}",
                "this pod has not pulled it to its cell",
                "pull it with this pod's sandbox config first",
                reason="ErrImageNeverPull",
            )
        wanted = cri.PullImageRequest(image=cri.ImageSpec(image=names[0]), sandbox_config=config)
        image_id = await self.pull(wanted)
        await self._room.pulling.allow(sandbox.id, spec.image, image_id)

    async def pull(self, request: cri.PullImageRequest) -> str:
        """Pull onto the cell of the pod that the request names; returns the image's id. Raises Fault."""
        if not request.sandbox_config.metadata.uid:
            return await self._stock.pull(request)
        pod = pod_of(request.sandbox_config)
        sandbox = self._room.memory.sandbox_of_pod(str(pod.uid), pod.attempt)
        if sandbox is None:
            raise Fault(Kind.PRECONDITION, f"pull of {request.image.image}", "the pod's sandbox does not run")
        there = self._room.containers.on(sandbox.cell)
        try:
            image_id = await self._room.pulling.pull(there, sandbox, request)
        except Fault as fault:
            if fault.kind is not Kind.UNREACHABLE:
                await self._unpullable(sandbox)
            raise
        self._patience.pulled(sandbox.uid)
        found = await there.image(image_id)
        if found is not None and found.id == image_id:
            self._known[found.id] = listed_as(found, request.image.image, self._known.get(found.id))
        return image_id

    async def _unpullable(self, sandbox: SandboxRecord) -> None:
        """Give back a cell on which nothing runs and for whose image there has been too much waiting."""
        held = self._room.memory.containers_of(sandbox.id)
        states = [cri.ContainerStatus.FromString(one.status).state for one in held]
        if cri.CONTAINER_RUNNING not in states and self._patience.failed(sandbox.uid):
            why = f"its pod's image could not be pulled for {self._patience.seconds:g} s"
            log.warning("a cell is given back", cell=sandbox.cell, cause=why)
            self._patience.gave_up(sandbox.uid)
            await self._room.sandboxes.stop(sandbox.id, why)

    def filesystem(self) -> cri.ImageFsInfoResponse:
        """The file system of this worker that holds what the shim keeps: images themselves are on the cells."""
        usage = cri.FilesystemUsage(
            timestamp=time.time_ns(),
            fs_id=cri.FilesystemIdentifier(mountpoint=self._folder),
            used_bytes=cri.UInt64Value(value=0),
            inodes_used=cri.UInt64Value(value=0),
        )
        return cri.ImageFsInfoResponse(image_filesystems=[usage], container_filesystems=[usage])

    async def _in_stock(self, spec: cri.ImageSpec) -> cri.Image | None:
        wanted = cri.ImageFilter(image=spec)
        return next((one for one in await self._stock.list() if spec.image and _matches(wanted, one)), None)


def listed_as(told: cri.Image, asked: str, known: cri.Image | None) -> cri.Image:
    """An image that a cell has pulled, as it is listed for the whole node: under the names of the repository that was
    asked for, beside those that are known; of what is known the cell changes nothing. Pure.
    """
    try:
        place = locate(asked)
    except Fault:
        own: tuple[str, ...] = ()
    else:
        own = tuple(f"{place.host}/{place.repository}{mark}" for mark in ":@")
    image = cri.Image(id=told.id, size=told.size, username=told.username[:LONGEST_NAME])
    if told.HasField("uid"):
        image.uid.CopyFrom(told.uid)
    if known is not None:
        image.CopyFrom(known)
    for names, said in ((image.repo_tags, told.repo_tags), (image.repo_digests, told.repo_digests)):
        for name in said:
            if name.startswith(own) and len(name) <= LONGEST_NAME and name not in names and len(names) < MOST_NAMES:
                names.append(name)
    return image


def _matches(wanted: cri.ImageFilter, image: cri.Image) -> bool:
    name = wanted.image.image
    digits = image.id.removeprefix("sha256:")
    known = {image.id, digits, *image.repo_tags, *image.repo_digests}
    part = len(name) >= SHORTEST_PREFIX and digits.startswith(name)  # as `crictl images` prints ids
    return not name or name in known or _in_full(name) in known or part


def _in_full(name: str) -> str:
    """An image's name as cells tell it, from one as people write it; as it is where it is none."""
    try:
        place = locate(name)
    except Fault:
        return name
    return f"{place.host}/{place.repository}{'@' if '@' in name else ':'}{place.wanted}"


class ShimImageService(ImageServiceBase):
    """ImageService for a kubelet."""

    def __init__(self, images: Images) -> None:
        self._images = images

    async def ListImages(self, stream: Stream[cri.ListImagesRequest, cri.ListImagesResponse]) -> None:
        async def listed(request: cri.ListImagesRequest) -> cri.ListImagesResponse:
            return cri.ListImagesResponse(images=await self._images.present(request.filter))

        await answer(stream, listed)

    async def StreamImages(self, stream: Stream[cri.StreamImagesRequest, cri.StreamImagesResponse]) -> None:
        request = await stream.recv_message()
        if request is not None:
            for page in pages(await self._images.present(request.filter)):
                await stream.send_message(cri.StreamImagesResponse(images=page))

    async def ImageStatus(self, stream: Stream[cri.ImageStatusRequest, cri.ImageStatusResponse]) -> None:
        await answer(stream, self._images.status)

    async def PullImage(self, stream: Stream[cri.PullImageRequest, cri.PullImageResponse]) -> None:
        async def pull(request: cri.PullImageRequest) -> cri.PullImageResponse:
            return cri.PullImageResponse(image_ref=await self._images.pull(request))

        await answer(stream, pull)

    async def RemoveImage(self, stream: Stream[cri.RemoveImageRequest, cri.RemoveImageResponse]) -> None:
        async def remove(request: cri.RemoveImageRequest) -> cri.RemoveImageResponse:
            await self._images.remove(request.image)
            return cri.RemoveImageResponse()

        await answer(stream, remove)

    async def ImageFsInfo(self, stream: Stream[cri.ImageFsInfoRequest, cri.ImageFsInfoResponse]) -> None:
        await stream.recv_message()
        await stream.send_message(self._images.filesystem())
