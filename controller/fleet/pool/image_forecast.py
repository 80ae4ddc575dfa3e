"""Which images the pods of a class of warm cells will need: those that the latest pods had. Pure.

Each arrival counts as one part of so many that are remembered; an image's share is that of the pods that had it, the
newer the more. What few pods need is not worth the line of a cell that waits for another.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

# About so many pods are remembered.
MEMORY = 20.0
LEAST_SHARE = 0.25
MOST = 3
# A pod names images of any number and length.
_MOST_KEPT = 50
_LONGEST = 512


class ImageShares(msgspec.Struct, frozen=True):
    """Share of the latest pods by image, and how many pods that is of, up to the memory."""

    shares: dict[str, float] = {}
    pods: float = 0.0


def came(seen: ImageShares, images: Iterable[str]) -> ImageShares:
    """A pod with these images came."""
    had = {image for image in images if len(image) <= _LONGEST}
    pods = min(seen.pods + 1, MEMORY)
    weight = 1 / pods
    shares = {
        image: seen.shares.get(image, 0.0) * (1 - weight) + (weight if image in had else 0.0)
        for image in {*seen.shares, *had}
    }
    kept = sorted(shares.items(), key=lambda item: (-item[1], item[0]))[:_MOST_KEPT]
    return ImageShares(dict(kept), pods)


def wanted(seen: ImageShares) -> tuple[str, ...]:
    """What the next pods will need, the likeliest first. One pod makes no rule."""
    if seen.pods < 2:
        return ()
    likely = [(share, image) for image, share in seen.shares.items() if share >= LEAST_SHARE]
    return tuple(image for _, image in sorted(likely, key=lambda item: (-item[0], item[1]))[:MOST])
