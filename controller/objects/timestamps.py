"""Moments as the API writes them. Pure."""

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
