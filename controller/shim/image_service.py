"""CRI's ImageService for a kubelet: each handler is one step on an image, or a question to memory."""

from __future__ import annotations

from grpclib.server import Stream

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.cri.v1.runtime_grpc import ImageServiceBase
from controller.shim.images import Images
from controller.shim.replies import answer, pages


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
