"""Names of things, told apart by type."""

from __future__ import annotations

from typing import NewType

CellName = NewType("CellName", str)
InstanceId = NewType("InstanceId", str)
PodUid = NewType("PodUid", str)
