"""Messages that the agent, its pull child and the unpacking processes send to each other; `pipe_frames` carries it."""

from __future__ import annotations

import msgspec

from cellwire.faults import Fault, Kind
from cellwire.platforms import Platform
from cellwire.proxies import Proxies


class RegistrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one registry host: `mirrors` are base addresses tried in order before the host itself.

    `ca` are certificates of authorities that are trusted beside the machine's, `certificate` and `key` what is shown to
    the registry; all in PEM. With `mirror_logins` mirrors are shown credentials that name no host.
    """

    host: str
    mirrors: tuple[str, ...] = ()
    plain_http: bool = False
    ca: str = ""
    certificate: str = ""
    key: str = ""
    mirror_logins: bool = False

    @property
    def has_tls(self) -> bool:
        """Whether anything is set for TLS."""
        return bool(self.ca or self.certificate)

    def __repr__(self) -> str:
        return f"RegistrySettings(host={self.host!r}, …)"


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials as CRI's AuthConfig has them. `auth` is base64 of "user:password"."""

    username: str = ""
    password: str = ""
    auth: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""

    def __repr__(self) -> str:
        return "Credentials(…)"


class PullRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One pull. `present` maps chain ids to folders that need not be fetched; `work` is the child's own folder.

    `asked_at` is when somebody asked for it, by the machine's monotonic clock, in seconds.
    `shared` is a folder of layers that are not fetched either (see `shared`). A pull with `room` fills it, with so many
    bytes at the most, and goes where `cellwire.reachable` says only.
    """

    reference: str
    work: str
    platform: Platform
    registries: tuple[RegistrySettings, ...] = ()
    proxies: Proxies = Proxies()
    credentials: Credentials = Credentials()
    present: dict[str, str] = {}
    shared: str = ""
    room: int = 0
    stall_seconds: float = 60.0
    asked_at: float = 0.0


class PullProgress(msgspec.Struct, frozen=True, kw_only=True, tag="progress"):
    """Progress of a pull. Totals are 0 while unknown; `bytes` are compressed ones."""

    image: str
    bytes_done: int
    bytes_total: int
    layers_done: int
    layers_total: int


class PullDelayed(msgspec.Struct, frozen=True, kw_only=True, tag="delayed"):
    """The cause for which a pull waits, where that takes so long that a person should know."""

    image: str
    why: str


class LayerReady(msgspec.Struct, frozen=True, kw_only=True, tag="layer"):
    """A verified, complete layer, told in the order of the chain. `folder` is in the work folder, or `shared`; `taken`
    are the bytes that it has of the disk at the most.
    """

    chain_id: str
    diff_id: str
    digest: str
    folder: str
    size: int
    unpacked: int
    entries: int
    taken: int = 0
    shared: bool = False


class Pulled(msgspec.Struct, frozen=True, kw_only=True, tag="pulled"):
    """The end of a pull that went well; every layer has been told before. `top` is what the tag pointed to."""

    top_digest: str
    manifest: bytes
    config: bytes
    config_digest: str
    chain: tuple[str, ...]


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag="failure"):
    """A fault, on its way through a pipe."""

    kind: Kind
    thing: str
    cause: str
    mend: str
    reason: str

    @classmethod
    def of(cls, fault: Fault, thing: str = "") -> Failure:
        """`fault`, told about `thing` if that is given."""
        return cls(kind=fault.kind, thing=thing or fault.thing, cause=fault.cause, mend=fault.mend, reason=fault.reason)

    def fault(self) -> Fault:
        """The fault again."""
        return Fault(self.kind, self.thing, self.cause, self.mend, reason=self.reason)


class UnpackRequest(msgspec.Struct, frozen=True, kw_only=True):
    """One layer to unpack into the empty `folder`, with the digests that it must turn out to have, and the `room` in
    bytes that it has with those before and beside it (0: what the disk has).
    """

    folder: str
    digest: str
    diff_id: str
    room: int = 0


class Unpacked(msgspec.Struct, frozen=True, kw_only=True, tag="unpacked"):
    """Result of one unpacking process: bytes read, bytes written, entries, bytes taken of the disk at the most.
    `implicit` are folders that no entry described, `whiteouts` names that the layer hides of those below.
    """

    size: int
    unpacked: int
    entries: int
    taken: int
    implicit: list[bytes]
    whiteouts: list[bytes] = []


PullMessage = PullProgress | PullDelayed | LayerReady | Pulled | Failure
UnpackMessage = Unpacked | Failure
