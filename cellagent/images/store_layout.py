"""Layout of the image store on disk, and the index of its layers and images.

index.json            images and layers, replaced atomically
blobs/<hex>           configurations and manifests, as the registry gave them
layers/<hex>/         unpacked layers by chain id, complete by the time they are here
holds/<holder>        one small file per user of an image
work/                 pulls under way and rubbish; emptied at start
reserve               space that is given up on a full disk, so that what frees space can still be written down
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

import msgspec

from cellagent.images.image_source import ImageConfig
from cellagent.images.shared import name_of
from hostkit import files

RESERVE_BYTES = 1 << 20
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class StoredLayer(msgspec.Struct, frozen=True, kw_only=True):
    """One unpacked layer. Sizes in bytes; `size` is compressed."""

    chain_id: str
    diff_id: str
    digest: str
    size: int
    unpacked: int
    entries: int
    durable: bool = False
    shared: bool = False
    """It lies where machines share layers, and is not this store's to remove."""


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """One image. `chain` names its layers, the lowest first; `manifests` are its blobs beside the configuration."""

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    chain: tuple[str, ...]
    config: ImageConfig
    manifests: tuple[str, ...] = ()


class StoreIndex(msgspec.Struct, frozen=True):
    """Index of layers and images, as of one boot of the machine."""

    boot_id: str = ""
    images: tuple[StoredImage, ...] = ()
    layers: tuple[StoredLayer, ...] = ()


class Hold(msgspec.Struct, frozen=True):
    """A hold on an image: the layers that one user of it needs."""

    image_id: str
    chain: tuple[str, ...]


class StoreLayout:
    """The files of one store below `root`. `shared` is where this machine's cells share layers, None where none do."""

    def __init__(self, root: Path, shared: Path | None) -> None:
        self.root = root
        self._shared = shared
        # Not the process id, which in a container may be the same in each life: work/ holds what earlier ones left.
        self._life = os.urandom(8).hex()
        self._work_number = 0
        for folder in ("blobs", "layers", "holds", "work"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)

    def layer(self, layer: StoredLayer) -> Path:
        """The folder of a layer."""
        # Where layers are not shared any more, it is looked for where it never is.
        return (self._shared or self.root) / name_of(layer.chain_id) if layer.shared else self.own(layer.chain_id)

    def own(self, chain_id: str) -> Path:
        """The folder of a layer that is this store's own."""
        # Half of the hex tells layers apart well enough and keeps overlayfs's option page short.
        return Path(f"{self.root}/layers/{chain_id.partition(':')[2][:32]}")

    def blob(self, digest: str) -> Path:
        """The file of a configuration or manifest."""
        return self.root / "blobs" / digest.partition(":")[2]

    def hold(self, holder: str) -> Path:
        """The file of a user of an image."""
        return Path(f"{self.root}/holds/{holder}")

    def discard(self, folder: Path) -> Path:
        """Move a folder away to be deleted; where it is now. Raises OSError."""
        rubbish = self.fresh("rubbish")
        folder.rename(rubbish)
        return rubbish

    def fresh(self, kind: str) -> Path:
        """A path in the work folder at which nothing is."""
        self._work_number += 1
        return self.root / "work" / f"{kind}-{self._life}-{self._work_number}"

    def write(self, index: StoreIndex) -> None:
        """Replace the index; on a full disk with the space set aside for it. Raises OSError."""
        data = msgspec.json.encode(index)
        try:
            files.replace(self.root / "index.json", data)
        except OSError as error:
            if error.errno not in FULL:
                raise
            (self.root / "reserve").unlink(missing_ok=True)
            files.replace(self.root / "index.json", data)

    def read(self) -> StoreIndex:
        """The index as it was last written."""
        try:
            return msgspec.json.decode((self.root / "index.json").read_bytes(), type=StoreIndex)
        except (FileNotFoundError, msgspec.DecodeError, ValueError):
            # No index, or one that a crash of the machine tore: everything can be pulled again.
            return StoreIndex()

    def holds(self) -> dict[str, Hold]:
        """Users of images by name; a file that cannot be read goes."""
        found: dict[str, Hold] = {}
        for path in (self.root / "holds").iterdir():
            try:
                found[path.name] = msgspec.json.decode(path.read_bytes(), type=Hold)
            except (msgspec.DecodeError, ValueError):
                path.unlink()
        return found

    def keep_reserve(self) -> None:
        """Set space aside for the index, unless that is done or there is none."""
        reserve = self.root / "reserve"
        with contextlib.suppress(OSError):
            if reserve.exists():
                return
            fresh = os.open(reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(fresh, 0, RESERVE_BYTES)
            except OSError:
                reserve.unlink()
            finally:
                os.close(fresh)
