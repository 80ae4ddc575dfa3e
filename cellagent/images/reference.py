"""Image references: what a person writes, and the one full form that we store and print. Pure.

The rules are those of the distribution project: the first part is a registry's host when it holds a dot, a colon,
an upper-case letter or is "localhost"; otherwise the registry is docker.io, and one-part names there live in
"library/".
"""

from __future__ import annotations

import re

import msgspec

from cellwire.faults import Fault, Kind

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
NAME_LIMIT = 255
REFERENCE_LIMIT = NAME_LIMIT + 1 + 128 + 1 + 135

_PART = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_LABEL = r"(?:[A-Za-z0-9]|[A-Za-z0-9][A-Za-z0-9-]*[A-Za-z0-9])"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?", re.ASCII)
_DIGEST_HEX = {"sha256": 64, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A full reference. At least one of `tag` and `digest` is set; with both, the digest decides."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository: "docker.io/library/nginx"."""
        return f"{self.registry}/{self.repository}"

    @property
    def tagged(self) -> str:
        """The canonical tag reference, or "" where there is only a digest."""
        return f"{self.name}:{self.tag}" if self.tag else ""

    @property
    def wanted(self) -> str:
        """What to ask the registry for: the digest where there is one, else the tag."""
        return self.digest or self.tag

    def with_digest(self, digest: str) -> str:
        """The canonical digest reference for this name."""
        return f"{self.name}@{digest}"

    def __str__(self) -> str:
        text = self.tagged or self.name
        return f"{text}@{self.digest}" if self.digest else text


def parse(text: str) -> Reference:
    """The full form of `text`. Raises Fault INVALID that says which part is wrong."""
    if not text or len(text) > REFERENCE_LIMIT:
        raise _invalid(text, "is empty" if not text else f"is longer than {REFERENCE_LIMIT} characters")
    rest, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise _invalid(text, f"{digest!r} is no digest like sha256:<64 hexadecimal digits>")
    name, tag = _split_tag(rest)
    if tag is not None and not _TAG.fullmatch(tag):
        raise _invalid(text, f"{tag!r} is no tag (letters, digits, '_', '.', '-', at most 128)")
    registry, repository = _split_registry(name)
    if not _HOST.fullmatch(registry) or not _port_is_valid(registry):
        raise _invalid(text, f"{registry!r} is no registry host")
    if not repository:
        raise _invalid(text, "the repository name is missing")
    for part in repository.split("/"):
        if not _PART.fullmatch(part):
            raise _invalid(
                text, f"{part!r} is no part of a repository name (lower-case letters, digits, '.', '_', '-')"
            )
    if len(registry) + 1 + len(repository) > NAME_LIMIT:
        raise _invalid(text, f"the name is longer than {NAME_LIMIT} characters")
    if tag is None:
        tag = "" if digest else DEFAULT_TAG
    return Reference(registry=registry, repository=repository, tag=tag, digest=digest)


def is_digest(text: str) -> bool:
    """Whether `text` is a digest of a kind that we can verify."""
    algorithm, colon, value = text.partition(":")
    return bool(colon) and len(value) == _DIGEST_HEX.get(algorithm) and bool(_HEX.fullmatch(value))


def is_id_prefix(text: str) -> bool:
    """Whether `text` may be the bare or shortened hex of an image id."""
    return len(text) <= 64 and bool(_HEX.fullmatch(text))


def _split_tag(rest: str) -> tuple[str, str | None]:
    head, colon, tail = rest.rpartition(":")
    # A colon before the last slash belongs to the host's port.
    return (head, tail) if colon and "/" not in tail else (rest, None)


def _split_registry(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or any(c in ".:[" for c in first) or first.lower() != first):
        registry, repository = first, rest
    else:
        registry, repository = DEFAULT_REGISTRY, name
    if registry == "index.docker.io":
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and repository and "/" not in repository:
        repository = f"library/{repository}"
    return registry, repository


def _port_is_valid(registry: str) -> bool:
    _, colon, port = registry.rpartition(":")
    return not colon or port.endswith("]") or not port.isdigit() or 0 < int(port) < 65536


def _invalid(text: str, cause: str) -> Fault:
    shown = text if len(text) <= 200 else text[:200] + "…"
    return Fault(
        Kind.INVALID,
        f"image reference {shown!r}",
        cause,
        "write it as [host[:port]/]name[:tag][@digest]",
        reason="InvalidImageName",
    )
