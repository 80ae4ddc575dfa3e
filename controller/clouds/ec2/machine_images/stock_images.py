"""Stock images by name: whose they are and what they are called, so that the newest can be found. Pure.

Sources: "Debian wiki, Cloud/AmazonEC2Image" and "Ubuntu on AWS: find Ubuntu images" for accounts and names. Another
distribution is refused here, before anything is launched that could not start the agent.
"""

from __future__ import annotations

import msgspec

from cellwire.faults import Fault, Kind

PREFIX = "stock:"
_DEBIAN, _CANONICAL = "136693071363", "099720109477"


class StockImages(msgspec.Struct, frozen=True):
    """A distribution's images: their owner's account, and their names with "{}" for the architecture."""

    owner: str
    pattern: str

    def name(self, architecture: str) -> str:
        """What its images of an architecture are called, with a wildcard for the day."""
        return self.pattern.format(architecture)


KNOWN = {
    "debian-12": StockImages(_DEBIAN, "debian-12-{}-*"),
    "debian-13": StockImages(_DEBIAN, "debian-13-{}-*"),
    "ubuntu-24.04": StockImages(_CANONICAL, "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-{}-server-*"),
}


def of(setting: str, image: str) -> StockImages | None:
    """The stock images that a setting asks for; None where it names an image itself. Raises Fault INVALID."""
    if not image.startswith(PREFIX):
        return None
    name = image.removeprefix(PREFIX)
    if name not in KNOWN:
        mend = f"name one of {', '.join(PREFIX + known for known in KNOWN)}, or an image with the agent on it"
        raise Fault(Kind.INVALID, f"{setting} {image}", "the agent's bundle is not tried on it", mend)
    return KNOWN[name]
