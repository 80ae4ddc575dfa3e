"""The images on this disk: which there are, which layers they need, who uses them. Files are as `store_layout` says.

Nothing is synced while a pull runs: a layer counts as durable only after `settle`. Layers that are not durable are
dropped after a reboot (another boot id), so a crash of the machine never leaves half a file to be trusted.

A full disk must not keep images from being removed: where only that cannot be written down, the index on disk names
more than there is, which a start sorts out, and the keeper writes it down later (`saved`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from cellagent.images import reference as references
from cellagent.images.image_source import Image
from cellagent.images.manifest import decode_config
from cellagent.images.messages import LayerReady, Pulled
from cellagent.images.reference import Reference
from cellagent.images.store_layout import Hold, StoredImage, StoredLayer, StoreIndex, StoreLayout
from cellwire.faults import Fault, Kind
from hostkit import files, pids

SPARE_SECONDS = 900.0
"""How long the complete layers of a pull that failed wait for the next attempt."""
log = logging.getLogger(__name__)


class ImageStore:
    """Implements `image_source.ImageProvider`. One owner, one thread. `freed` is called when layers may have become
    rubbish.
    """

    def __init__(
        self, root: Path, *, pinned: Iterable[str] = (), boot_id: str = "", shared: Path | None = None
    ) -> None:
        self.root = root
        self._disk = StoreLayout(root, shared)
        self.freed: Callable[[], None] = lambda: None
        self._pinned = frozenset(str(references.parse(text)) for text in pinned)
        self._boot_id = boot_id or pids.boot_id()
        self._images: dict[str, StoredImage] = {}
        self._layers: dict[str, StoredLayer] = {}
        self._names: dict[str, str] = {}
        self._holds: dict[str, Hold] = {}
        self._spare: dict[str, float] = {}
        self._doomed: list[Path] = []
        self.saved = True
        """Whether the index on disk says what is known here."""
        self._load()

    # What others ask

    def find(self, reference: str) -> Image:
        """By id, tag or digest; see `ImageProvider`."""
        return self._told(self._find(reference))

    def images(self) -> list[Image]:
        """Every image."""
        return [self._told(image) for image in self._images.values()]

    def hold(self, image_id: str, holder: str) -> None:
        """Keep the image's layers for `holder`; see `ImageProvider`."""
        image = self._find(image_id)
        if not holder or "/" in holder or holder.startswith("."):
            raise Fault(Kind.INVALID, f"holder {holder!r}", "it cannot be a file's name", "hold by a container id")
        hold = Hold(image.id, image.chain)
        if self._holds.get(holder) != hold:
            try:
                files.replace(self._disk.hold(holder), msgspec.json.encode(hold))
            except OSError as error:
                raise _unwritable(f"image {image_id}", error) from error
            self._holds[holder] = hold

    def release(self, holder: str) -> None:
        """The holder is gone; see `ImageProvider`."""
        if self._holds.pop(holder, None):
            self._disk.hold(holder).unlink(missing_ok=True)
            self.freed()

    def holders(self) -> tuple[str, ...]:
        """The holders of an image; see `ImageProvider`."""
        return tuple(self._holds)

    def remove(self, reference: str) -> None:
        """Forget an image with all its names, even on a full disk. Layers in use stay. The unknown is no error."""
        try:
            image = self._find(reference)
        except Fault as fault:
            if fault.kind is Kind.NOT_FOUND:
                return
            raise
        del self._images[image.id]
        self._rename()
        self.save_if_possible()
        self.freed()

    def raw(self, image_id: str) -> bytes:
        """An image's configuration, as the registry gave it."""
        return self._disk.blob(image_id).read_bytes()

    def top(self, image_id: str) -> str:
        """The chain id of an image's topmost layer; "" where it has none."""
        chain = self._find(image_id).chain
        return chain[-1] if chain else ""

    def usage(self) -> tuple[int, int]:
        """Bytes and inodes that unpacked layers take of this disk."""
        own = [layer for layer in self._layers.values() if not layer.shared]
        return sum(layer.unpacked for layer in own), sum(layer.entries for layer in own)

    # What a pull does

    def present(self) -> dict[str, str]:
        """Complete layers by chain id."""
        return {chain: str(self._folder(chain)) for chain in self._layers}

    def work_folder(self) -> Path:
        """A new empty folder for one pull. Raises OSError."""
        folder = self._disk.fresh("pull")
        folder.mkdir(mode=0o700)
        return folder

    def done_with(self, work: Path) -> None:
        """A pull has ended; what it leaves behind is deleted by and by."""
        try:
            work.rmdir()
        except OSError:
            self._doomed.append(work)

    def adopt(self, layer: LayerReady, now: float) -> None:
        """Take over a complete layer from a pull's work folder. Raises OSError."""
        if layer.chain_id in self._layers:
            return
        if not self.saved:
            # The index on disk may name a layer of this chain id that is gone, and call it durable.
            self._save()
        if not layer.shared:
            target = self._folder(layer.chain_id)
            if target.exists():
                self._disk.discard(target)
            Path(layer.folder).rename(target)
        self._spare[layer.chain_id] = now
        self._layers[layer.chain_id] = StoredLayer(
            chain_id=layer.chain_id,
            diff_id=layer.diff_id,
            digest=layer.digest,
            size=layer.size,
            unpacked=layer.unpacked,
            entries=layer.entries,
            durable=layer.shared,
            shared=layer.shared,
        )
        self._save()

    def add(self, wanted: Reference, pulled: Pulled) -> Image:
        """Record a pulled image, whose layers have all been adopted, under the name it was pulled by.

        Raises Fault; OSError where it cannot be written down, and then it is not there.
        """
        image_id = pulled.config_digest
        missing = [chain for chain in pulled.chain if chain not in self._layers]
        if missing:
            raise Fault(Kind.BROKEN, f"image {wanted}", f"layer {missing[0]} is not on disk", "pull again")
        decoded = decode_config(pulled.config, f"image {wanted}")
        files.replace(self._disk.blob(image_id), pulled.config)
        digest = wanted.with_digest(pulled.top_digest)
        known, before = dict(self._images), self._images.get(image_id)
        tags = _merged(before.tags if before else (), wanted.tagged if not wanted.digest else "")
        for other in list(self._images.values()):
            # A tag moves with the registry: whoever had it keeps its digests.
            if other.id != image_id and set(other.tags) & set(tags):
                kept = tuple(tag for tag in other.tags if tag not in tags)
                self._images[other.id] = msgspec.structs.replace(other, tags=kept)
        self._images[image_id] = StoredImage(
            id=image_id,
            tags=tags,
            digests=_merged(before.digests if before else (), digest),
            chain=pulled.chain,
            config=decoded.config,
        )
        try:
            # Layers that the index on disk does not name are taken away at the next start, in use or not.
            self._save()
        except OSError:
            self._images = known
            raise
        for chain in pulled.chain:
            self._spare.pop(chain, None)
        self._rename()
        return self.find(image_id)

    # Rubbish and durability

    def garbage(self, now: float) -> list[Path]:
        """Take layers that no image and no holder needs out of use; the folders to delete. Never while a pull runs.

        A layer that cannot be moved away now stays for the next time.
        """
        needed = {chain for chain, since in self._spare.items() if now - since < SPARE_SECONDS}
        for image in self._images.values():
            needed.update(image.chain)
        for hold in self._holds.values():
            needed.update(hold.chain)
        gone = [chain for chain in self._layers if chain not in needed]
        for chain in gone:
            try:
                if not self._layers[chain].shared:
                    self._doomed.append(self._disk.discard(self._folder(chain)))
            except FileNotFoundError:
                pass
            except OSError as error:
                log.warning("a layer that nobody needs stays for now: %s", error)
                continue
            del self._layers[chain]
            self._spare.pop(chain, None)
        if gone:
            self.save_if_possible()
        self._sweep_blobs()
        folders, self._doomed = self._doomed, []
        return folders

    def unsettled(self) -> tuple[str, ...]:
        """Layers that are not known to be on the disk itself."""
        return tuple(chain for chain, layer in self._layers.items() if not layer.durable)

    def settle(self, chains: Iterable[str]) -> None:
        """Layers have been synced: these."""
        for chain in chains:
            if chain in self._layers:
                self._layers[chain] = msgspec.structs.replace(self._layers[chain], durable=True)
        self.save_if_possible()

    def save_if_possible(self) -> None:
        """Write down what is known, where it may as well be written later; `saved` says whether it was."""
        try:
            self._save()
        except OSError as error:
            log.warning("the index of images cannot be written now, which is tried again: %s", error)

    def keep_reserve(self) -> None:
        """Set space aside for the index, unless that is done or there is none."""
        self._disk.keep_reserve()

    def rubbish(self) -> list[Path]:
        """What lies in the work folder at start: the rests of interrupted pulls and removals."""
        return sorted((self.root / "work").iterdir())

    def _find(self, text: str) -> StoredImage:
        if text.startswith("sha256:") and references.is_digest(text):
            found = self._images.get(text)
        else:
            found = self._by_name(text) or self._by_prefix(text.removeprefix("sha256:"))
        if found is None:
            raise Fault(
                Kind.NOT_FOUND, f"image {text}", "it is not on this cell", "pull it first", reason="ImageNotFound"
            )
        return found

    def _by_name(self, text: str) -> StoredImage | None:
        try:
            wanted = references.parse(text)
        except Fault:
            # The bare hex of an id is no valid name of an image, and still a way to find one.
            if references.is_id_prefix(text.removeprefix("sha256:")):
                return None
            raise
        name = wanted.with_digest(wanted.digest) if wanted.digest else wanted.tagged
        return self._images.get(self._names.get(name, ""))

    def _by_prefix(self, text: str) -> StoredImage | None:
        if not references.is_id_prefix(text):
            return None
        found = [image for key, image in self._images.items() if key.removeprefix("sha256:").startswith(text)]
        return found[0] if len(found) == 1 else None

    def _told(self, image: StoredImage) -> Image:
        return Image(
            id=image.id,
            tags=image.tags,
            digests=image.digests,
            size=sum(self._layers[chain].unpacked for chain in image.chain),
            config=image.config,
            layers=tuple(self._folder(chain) for chain in reversed(image.chain)),
            pinned=not self._pinned.isdisjoint((*image.tags, *image.digests)),
        )

    def _folder(self, chain_id: str) -> Path:
        known = self._layers.get(chain_id)
        return self._disk.layer(known) if known is not None else self._disk.own(chain_id)

    def _rename(self) -> None:
        self._names = {name: image.id for image in self._images.values() for name in (*image.tags, *image.digests)}

    def _save(self) -> None:
        self.saved = False
        self._disk.write(StoreIndex(self._boot_id, tuple(self._images.values()), tuple(self._layers.values())))
        self.saved = True

    def _load(self) -> None:
        index = self._disk.read()
        same_boot = index.boot_id == self._boot_id
        for layer in index.layers:
            if (layer.durable or same_boot) and self._disk.layer(layer).is_dir():
                self._layers[layer.chain_id] = layer
        for image in index.images:
            if self._layers.keys() >= set(image.chain) and self._disk.blob(image.id).is_file():
                self._images[image.id] = image
        self._holds = self._disk.holds()
        known = {self._folder(chain) for chain in self._layers}
        for folder in (self.root / "layers").iterdir():
            if folder not in known:
                with contextlib.suppress(OSError):  # the next start finds it as well
                    self._disk.discard(folder)
        self._rename()
        self.save_if_possible()

    def _sweep_blobs(self) -> None:
        needed = {self._disk.blob(image_id) for image_id in self._images}
        try:
            for blob in (self.root / "blobs").iterdir():
                if blob not in needed:
                    blob.unlink(missing_ok=True)
        except OSError as error:
            log.warning("configurations of images that are gone stay for now: %s", error)


def delete(folders: Iterable[Path]) -> None:
    """Delete folders; slow, so in a thread. What cannot be deleted stays for the next start."""
    for folder in folders:
        files.remove_tree(folder)


def _unwritable(thing: str, error: OSError) -> Fault:
    return Fault(Kind.UNAVAILABLE, thing, f"nothing can be written: {error}", "look at this machine's disk")


def _merged(before: tuple[str, ...], name: str) -> tuple[str, ...]:
    return (*before, name) if name and name not in before else before
