"""Moments as the API writes them, and how long ago they are as kubectl writes that. Pure."""

from __future__ import annotations

import datetime


def timestamp(at: float) -> str:
    """Unix seconds as RFC 3339 in whole seconds."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: object) -> float | None:
    """Unix seconds of an RFC 3339 time, None for anything else."""
    if not isinstance(text, str) or not text:
        return None
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    return at.timestamp() if at.tzinfo else None


def since(timestamp: object, now: float) -> str:
    """The time since then: "5s", "3m20s", "2d4h"; "<unknown>" where there is none."""
    at = seconds_of(timestamp)
    return "<unknown>" if at is None else duration(now - at)


def duration(seconds: float) -> str:
    """A duration as kubectl writes it: two units while they matter."""
    if seconds < -1:
        return "<invalid>"
    total = max(int(seconds), 0)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    if days < 730:
        return f"{days}d"
    return _two(days // 365, "y", days % 365, "d") if days < 8 * 365 else f"{days // 365}y"


def _two(large: int, unit: str, small: int, smaller: str) -> str:
    return f"{large}{unit}{small}{smaller}" if small else f"{large}{unit}"
