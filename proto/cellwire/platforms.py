"""Platforms of images: normalised and matched as containerd does it, but where a cell cannot run what is built. Pure.

Source: containerd's platforms package (Normalize, Only). Stricter on purpose: 32-bit Arm images are not taken on
arm64, whose processors need not run them (Graviton 4 does not). docs/images.md has the whole table.
"""

from __future__ import annotations

import msgspec

_ARCHITECTURES = {
    "i386": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
_PLAIN_VARIANTS = {("amd64", "v1"), ("arm64", "8"), ("arm64", "v8")}
_ARM = ("v8", "v7", "v6", "v5")


class Platform(msgspec.Struct, frozen=True):
    """Operating system, architecture and variant, in Go's words. What is null in an index counts as not said."""

    os: str | None = ""
    architecture: str | None = ""
    variant: str | None = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


def normalized(platform: Platform) -> Platform:
    """`platform` in the one form in which two that mean the same are equal. What names no system is for Linux."""
    system = (platform.os or "linux").lower()
    architecture, variant = (platform.architecture or "").lower(), (platform.variant or "").lower()
    if architecture in _ARCHITECTURES:
        architecture, fixed = _ARCHITECTURES[architecture]
        variant = fixed or variant
    if (architecture, variant) in _PLAIN_VARIANTS:
        variant = ""
    if architecture == "arm":
        variant = f"v{variant}" if variant in {"5", "6", "7", "8"} else variant or "v7"
    return Platform(system, architecture, variant)


def rank(offered: Platform, wanted: Platform) -> int | None:
    """How well an image for `offered` runs on a machine that is `wanted`: 0 is best, None is not at all."""
    runnable = _runnable(normalized(wanted))
    candidate = normalized(offered)
    return runnable.index(candidate) if candidate in runnable else None


def _runnable(machine: Platform) -> tuple[Platform, ...]:
    """What a machine runs, the best first."""

    def of(*variants: str) -> tuple[Platform, ...]:
        return tuple(Platform(machine.os, machine.architecture, variant) for variant in variants)

    variant = machine.variant or ""
    match machine.architecture:
        case "amd64":
            level = int(variant[1:]) if variant[1:].isdecimal() and len(variant) == 2 else 1
            older = tuple(f"v{number}" for number in range(level, 1, -1))
            return (*of(*older, ""), Platform(machine.os, "386", ""))
        case "arm64":
            return of(variant, "") if variant else of("")
        case "arm":
            return of(*_ARM[_ARM.index(variant) if variant in _ARM else 1 :])
        case _:
            return of(variant, "") if variant else of("")
