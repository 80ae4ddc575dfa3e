"""Fuzzes what reads a registry's answers: references, manifests, configurations and tar streams.

`python tests/fuzz/images.py [--seconds N]`: hypothesis keeps making inputs for that long and stops at the first that
ends in anything else than a value or a Fault. The corpus stays in .hypothesis, so a finding comes back first.
"""

from __future__ import annotations

import argparse
import time
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cellagent.images import credentials, manifest, reference
from cellagent.images.tarstream import Source, TarReader
from cellwire.faults import Fault
from tests.support.oci import Node, config_of, layer, manifest_of, tar

SEEDS = (
    tar({"a": b"hello", "ü" * 90: b"x" * 600, "x": Node(content=b"1", xattrs={"user.k": "v"}, uid=3_000_000_000)}),
    manifest_of([layer({"a": b"1"})], config_of([layer({"a": b"1"})])),
    config_of([layer({"a": b"1"})]),
    b'Bearer realm="https://x/y",service="s",scope="repository:a:pull"',
    b"registry.example:5000/a/b:tag@sha256:" + b"0" * 64,
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good input with some bytes changed, cut or repeated, tar checksums mended."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 20))] = draw(st.binary(max_size=20))
    for at in range(0, len(content) - 511, 512):
        if bytes(content[at + 257 : at + 262]) == b"ustar":
            total = sum(content[at : at + 148]) + sum(content[at + 156 : at + 512]) + 256
            content[at + 148 : at + 156] = b"%06o\0 " % total
    return bytes(content)


def attack(content: bytes) -> None:
    """Feed `content` to every reader."""
    wanted = manifest.Platform("linux", "amd64", "")
    text = content.decode("latin-1")
    credentials.challenge_of(text)
    for reader in (
        lambda: reference.parse(text),
        lambda: manifest.is_index(content, "", "x"),
        lambda: manifest.choose(content, wanted, "x"),
        lambda: manifest.decode_manifest(content, "x"),
        lambda: manifest.decode_config(content, "x"),
        lambda: archive(content),
    ):
        with suppress(Fault):
            reader()


def archive(content: bytes) -> None:
    pieces = iter([content[at : at + 700] for at in range(0, len(content), 700)])
    reader = TarReader(Source(lambda: next(pieces, b"")))
    for entry in reader:
        assert sum(len(span) for span in reader.content()) == entry.size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    until = time.monotonic() + parser.parse_args().seconds
    done = 0

    @settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(damaged() | st.binary(max_size=2000))
    def batch(content: bytes) -> None:
        nonlocal done
        done += 1
        attack(content)

    while time.monotonic() < until:
        batch()
    print(f"{done} inputs, nothing found")


if __name__ == "__main__":
    main()
