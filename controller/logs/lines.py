"""The lines of a container's log in CRI format, as `kubectl logs` wants them. Pure: bytes in, bytes out.

`<time> <stdout|stderr> <F|P>[:tag…] <content>`: F ends a line of the container's, P is a part of one that goes on in
the next. Behaves as a kubelet reading the same file does, but that the parts of a line count as one line in a tail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime

import msgspec

STREAMS = frozenset({b"stdout", b"stderr"})
BLOCK = 32 << 10
# What writes CRI logs cuts lines into parts of 8 or 16 KiB; whatever is longer than this was written by none of them.
LONGEST = 1 << 20
# A stream and a tag.
SHORTEST = len(b" stdout F")
_LONG_ENOUGH = re.compile(rb"[^\n]{%d,}" % SHORTEST)
_TIME = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(Z|[+-]\d\d:\d\d)")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Line(msgspec.Struct, frozen=True):
    """One line of the file. `content` is without its end; `ends` tells whether the container's line ends with it."""

    time: bytes
    stream: bytes
    ends: bool
    content: bytes


class LinesWanted(msgspec.Struct, frozen=True, kw_only=True):
    """The lines that are wanted: from `since` on (unix nanoseconds), with their times or not, at most so many bytes."""

    since: int = 0
    timestamps: bool = False
    limit_bytes: int | None = None


def parse(line: bytes) -> Line | None:
    """One line of the file, without its newline; None for what is none."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in STREAMS:
        return None
    tag = parts[2].partition(b":")[0]
    if tag not in (b"F", b"P"):
        return None
    return Line(parts[0], parts[1], tag == b"F", parts[3] if len(parts) == 4 else b"")


def nanoseconds(time: bytes) -> int | None:
    """Unix nanoseconds of an RFC 3339 time; None for what is none."""
    match = _TIME.fullmatch(time)
    if match is None:
        return None
    whole, fraction, zone = match.groups()
    try:
        second = datetime.fromisoformat(f"{whole.decode()}{zone.decode().replace('Z', '+00:00')}")
    except ValueError:
        return None
    since = second - _EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000_000 + int((fraction or b"").ljust(9, b"0"))


def shown_time(time: bytes) -> bytes:
    """The time as `kubectl logs --timestamps` shows it: nine digits, and Z for UTC; b"" for what is none."""
    match = _TIME.fullmatch(time)
    if match is None:
        return b""
    whole, fraction, zone = match.groups()
    return whole + b"." + (fraction or b"").ljust(9, b"0") + (b"Z" if zone in (b"Z", b"+00:00", b"-00:00") else zone)


def missing(count: int, now: int) -> bytes:
    """A line, at `now` in unix nanoseconds, that stands for so many bytes of the file that nobody has any more."""
    time = datetime.fromtimestamp(now // 1_000_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    why = "its cell had given them back, and the copy that held them is gone"
    return (
        f"{time}.{now % 1_000_000_000:09d}Z stderr F chinampa: {count} bytes of this log are missing: {why}\n".encode()
    )


def cut_line(count: int, most: int, after: bytes) -> bytes:
    """A line that says that the log's first `count` bytes were given up, to be written over what comes `after` them.

    It ends where one of those lines ends, and bears the time of the next. Empty where too few lines are there.
    """
    said = f"chinampa: the first {count} bytes of this log were given up: {most} are kept of a container's logs"
    shortest = len(said) + 64  # with its time
    ends = after.find(b"\n", shortest)
    following = parse(after[ends + 1 :].partition(b"\n")[0])
    if ends < 0 or following is None:
        return b""
    return (following.time + b" stderr F " + said.encode()).ljust(ends) + b"\n"


class LineReader:
    """Turns the bytes of a log file, cut anywhere, into what is wanted of it. `full` once the limit is reached."""

    def __init__(self, wanted: LinesWanted) -> None:
        self._wanted = wanted
        self._left = wanted.limit_bytes
        self._rest = b""
        self._too_long = False
        self._fresh = True
        self.full = wanted.limit_bytes == 0

    def skip(self) -> None:
        """Bytes of the file are passed over: what comes next begins a line, what came of the last one is no more."""
        self._rest = b""
        self._too_long = False
        self._fresh = True

    def feed(self, data: bytes) -> bytes:
        """The next bytes of the file; what can be shown so far. A line that is longer than `LONGEST` is passed over."""
        lines = data.split(b"\n")
        if self._too_long:
            lines[0] = b""
        else:
            lines[0] = self._rest + lines[0]
        self._too_long = self._too_long and len(lines) == 1
        self._rest = lines.pop()
        if len(self._rest) > LONGEST:
            self._rest, self._too_long = b"", True
        return self._limited(b"".join(self._shown(line) for line in lines if len(line) >= SHORTEST))

    def finish(self) -> bytes:
        """The file ends here; a last line without its newline is shown too."""
        rest, self._rest = self._rest, b""
        return self._limited(self._shown(rest)) if rest else b""

    def _shown(self, raw: bytes) -> bytes:
        line = parse(raw)
        if line is None or (self._wanted.since and (nanoseconds(line.time) or 0) < self._wanted.since):
            return b""
        shown = line.content + b"\n" if line.ends else line.content
        if self._wanted.timestamps and self._fresh:
            time = shown_time(line.time)
            if not time:
                return b""
            shown = time + b" " + shown
        self._fresh = line.ends
        return shown

    def _limited(self, shown: bytes) -> bytes:
        if self._left is None:
            return shown
        shown = shown[: self._left]
        self._left -= len(shown)
        self.full = self._left == 0
        return shown


def tail_start(read: Callable[[int, int], bytes], size: int, lines: int, begins: int = 0) -> Generator[None, None, int]:
    """Where the last so many lines begin in a file of this size, the first of them not before `begins`;
    `read(position, length)` gives its bytes.

    A line of the container's that has begun and not ended counts as one. Reads backwards, no more than is needed, and
    stops after each block, for others to have a turn: a file may be long and have no line in it.
    """
    if lines <= 0:
        return size
    for found in _backwards(read, size, begins):
        for after, raw in found:
            line = parse(raw)
            # After each F begins a line; after the last one only if anything follows.
            if line is not None and line.ends and after < size:
                lines -= 1
                if lines == 0:
                    return after
        yield
    return begins


def _backwards(read: Callable[[int, int], bytes], size: int, begins: int) -> Iterator[list[tuple[int, bytes]]]:
    """The lines of a file from its last to that at `begins`, a block at a time: the position after each, and its bytes
    without the newline. Those that are shorter than any line are left out; of one that is longer than `LONGEST` comes
    its beginning, as far as that.
    """
    end, rest = size, b""
    after: int | None = None  # of the line whose bytes from `end` on are `rest`; None: it has no newline yet
    while end > begins:
        start = max(begins, end - BLOCK)
        block = read(start, end - start)
        first, last = block.find(b"\n"), block.rfind(b"\n")
        found: list[tuple[int, bytes]] = []
        if first < 0:
            rest = (block + rest)[:LONGEST]
        else:
            if after is not None:
                found.append((after, (block[last + 1 :] + rest)[:LONGEST]))
            # By one search, since a block may hold thousands of lines that are none.
            whole = [(start + each.end() + 1, each.group()) for each in _LONG_ENOUGH.finditer(block, first + 1, last)]
            found += reversed(whole)
            after, rest = start + first + 1, block[:first]
        yield found
        end = start
    if after is not None:
        yield [(after, rest)]
