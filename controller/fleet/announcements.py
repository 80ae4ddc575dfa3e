"""Announcements of the cloud: what is remembered of one, and when the pod on its cell is told to end. Pure.

A spot interruption is acted on at once; maintenance that ends an instance, which AWS tells days before, a while before
it is due; a rebalance recommendation only where the settings say so.
"""

from __future__ import annotations

from typing import Protocol

from controller.clouds.protocol import Notice
from controller.model.cell import Announcement, NoticeKind

# A spot instance is taken this long after the warning.
WARNING_SECONDS = 120.0


class AnnouncementPolicy(Protocol):
    """Of `controller.fleet.plan.FleetLimits`."""

    @property
    def maintenance_lead(self) -> float:
        """Seconds before maintenance from which on the pod is told to end."""
        ...

    @property
    def rebalance_ends(self) -> bool:
        """Whether a recommendation to rebalance counts as an interruption."""
        ...


def announcement(notice: Notice, policy: AnnouncementPolicy, now: float) -> Announcement | None:
    """What a cell is to remember of a notice; None where it is no announcement of anything."""
    ends = notice.ends or (notice.kind is NoticeKind.REBALANCE and policy.rebalance_ends)
    if not ends and notice.kind is not NoticeKind.REBALANCE:
        return None
    at = notice.at
    if notice.kind is NoticeKind.INTERRUPTION and not at:
        at = now + WARNING_SECONDS
    return Announcement(kind=notice.kind, at=at, message=notice.message, heard_at=now, ends=ends)


def weightier(known: Announcement | None, news: Announcement) -> bool:
    """Whether news replaces what is known: the first that ends the instance, then whatever ends it sooner."""
    if known is None:
        return True
    if known.ends is not news.ends:
        return news.ends
    return bool(news.ends and not known.ending_since and _at(news) < _at(known))


def due(known: Announcement | None, policy: AnnouncementPolicy, now: float) -> bool:
    """Whether the pod is to be told now, or was told before, that its instance ends."""
    if known is None or not known.ends:
        return False
    if known.kind in {NoticeKind.INTERRUPTION, NoticeKind.REBALANCE} or not known.at:
        return True
    return now >= known.at - policy.maintenance_lead


def _at(known: Announcement) -> float:
    return known.at or float("inf")
