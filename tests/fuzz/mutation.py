"""Inputs for fuzz targets: good ones, damaged. Every run begins from a number, which a finding is told with."""

from __future__ import annotations

import random
import struct
import time

from tests.fuzz.targets import Target

WORDS = (b"", b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"[", b"{", b'"', b"/", b":", b"@")


class Finding(Exception):
    """An input that a target did not stand. Its cause is what happened."""


def damaged(chance: random.Random, seeds: tuple[bytes, ...] | list[bytes]) -> bytes:
    """One input: a seed with bytes changed, added, lost, repeated, or with the end of another."""
    changed = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 8)):
        at = chance.randrange(len(changed) + 1)
        size = chance.choice((1, 1, 2, 4, 8, 20, 512))
        match chance.randrange(8):
            case 0 if at < len(changed):
                changed[at] = chance.randrange(256)
            case 1 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 2:
                changed[at:at] = chance.randbytes(chance.randrange(1, 9))
            case 3:
                del changed[at : at + size]
            case 4:
                changed[at:at] = changed[chance.randrange(len(changed) + 1) :][:size]
            case 5:
                word = chance.choice(WORDS)
                changed[at : at + len(word)] = word
            case 6:
                changed[at : at + 8] = struct.pack(">II", 0x80030000 | chance.randrange(12), chance.randrange(64))
            case _:
                other = chance.choice(seeds)
                changed[at:] = other[chance.randrange(len(other) + 1) :]
    return bytes(changed)


def run(target: Target, seconds: float, start: int) -> int:
    """Attack for so long; how many inputs that were. Raises Finding."""
    chance = random.Random(start)
    until, done = time.monotonic() + seconds, 0
    seeds = list(target.seeds)
    while time.monotonic() < until:
        for _ in range(20):
            content = damaged(chance, seeds)
            try:
                target.attack(content)
            except Exception as error:
                raise Finding(f"run {start}, input {done}: {content!r}") from error
            done += 1
    return done
