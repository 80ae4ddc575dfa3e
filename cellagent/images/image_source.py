"""The image store, as the runtime asks it."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import msgspec


class ImageConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an OCI image configuration that a container is made from."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    labels: dict[str, str] = {}
    volumes: tuple[str, ...] = ()


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """One stored image. `id` is "sha256:…" of its configuration; `tags` and `digests` are full references;
    `layers` are unpacked folders, the topmost first, as overlayfs wants its lowerdir.
    """

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    size: int
    config: ImageConfig
    layers: tuple[Path, ...]
    pinned: bool = False


class ImageProvider(Protocol):
    """Stored images, and who uses them."""

    def find(self, reference: str) -> Image:
        """By id ("sha256:…" or its bare or shortened hex), tag or digest reference. Raises Fault NOT_FOUND."""
        ...

    def hold(self, image_id: str, holder: str) -> None:
        """Keep the image's layers on disk for `holder` (a container id). Survives a restart. Idempotent."""
        ...

    def release(self, holder: str) -> None:
        """The holder is gone. Unknown holders are no error."""
        ...

    def holders(self) -> tuple[str, ...]:
        """Everyone who holds an image, also from before a restart."""
        ...
