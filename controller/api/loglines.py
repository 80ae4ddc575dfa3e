"""Log files in CRI format as kubectl wants them: prefix off, times kept if asked, cut at the front by time. Pure.

A line of such a file is `<RFC 3339 time> <stdout|stderr> <P|F> <text>`; P marks a piece of a longer line.
"""

from __future__ import annotations

import datetime
from typing import BinaryIO

from controller.logs.lines import LONGEST, SHORTEST

BLOCK = 1 << 16


class Reader:
    """Turns the bytes of a log file, in pieces cut anywhere, into what a reader of the log sees."""

    def __init__(self, *, since: float = 0.0, timestamps: bool = False, limit: int | None = None) -> None:
        self._since = since
        self._timestamps = timestamps
        self._left = limit
        self._rest = b""
        self._too_long = False
        self._within_line = False

    @property
    def full(self) -> bool:
        """Whether the limit of bytes is reached."""
        return self._left is not None and self._left <= 0

    def feed(self, data: bytes) -> bytes:
        """What the reader sees of the next bytes of the file. Lines longer or shorter than any that a container writes
        are passed over, so that each costs no more than its bytes.
        """
        lines = data.split(b"\n")
        lines[0] = b"" if self._too_long else self._rest + lines[0]
        self._too_long = self._too_long and len(lines) == 1
        self._rest = lines.pop()
        if len(self._rest) > LONGEST:
            self._rest, self._too_long = b"", True
        seen = b"".join(self._line(line) for line in lines if len(line) >= SHORTEST)
        if self._left is not None:
            seen = seen[: max(self._left, 0)]
            self._left -= len(seen)
        return seen

    def skip(self) -> None:
        """What comes next begins a line; what has come of the last one is no more."""
        self._rest = b""
        self._too_long = False
        self._within_line = False

    def _line(self, line: bytes) -> bytes:
        stamp, _, rest = line.partition(b" ")
        _, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if self._since:
            if seconds(stamp) < self._since:
                return b""
            self._since = 0.0  # what follows is later
        prefix = stamp.replace(b"+00:00", b"Z") + b" " if self._timestamps and not self._within_line else b""
        self._within_line = tag == b"P"
        return prefix + text + (b"" if self._within_line else b"\n")


def seconds(stamp: bytes) -> float:
    """Unix seconds of a line's time; 0 for what is none."""
    text = stamp.decode(errors="replace")
    head, dot, rest = text.partition(".")
    digits = rest.rstrip("Z").partition("+")[0].partition("-")[0] if dot else ""
    zone = rest[len(digits) :] if dot else ""
    try:
        return datetime.datetime.fromisoformat(
            f"{head}{'.' + digits[:6].ljust(6, '0') if dot else ''}{zone}"
        ).timestamp()
    except ValueError:
        return 0.0


def start_of_tail(file: BinaryIO, lines: int, begins: int = 0) -> int:
    """The position in a file at which its last lines begin, the first of them not before `begins`."""
    end = file.seek(0, 2)
    if lines == 0:
        return end
    position, found = end, 0
    while position > begins:
        size = min(BLOCK, position - begins)
        position -= size
        file.seek(position)
        block = file.read(size)
        at = size
        if position + size == end and block.endswith(b"\n"):
            at -= 1
        if found + (several := block.count(b"\n", 0, at)) < lines:
            found += several
            continue
        while (at := block.rfind(b"\n", 0, at)) >= 0:
            found += 1
            if found == lines:
                return position + at + 1
    return begins
