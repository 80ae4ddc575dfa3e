"""Snapshots by the EBS direct APIs as AWS has them and moto has not: pending until they are completed, each block and
the whole checked against what the caller says of it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from moto.ebs.models import ebs_backends

from tests.support.ec2_launches import ACCOUNT, REGION, backend
from tests.support.ec2_rules import Ec2Error

_PUT = re.compile(r"/snapshots/[^/]+/blocks/\d+")
_COMPLETION = re.compile(r"/snapshots/completion/([^/?]+)")


def check(method: str, path: str, headers: Mapping[str, str], body: bytes) -> None:
    """Refuse what AWS refuses, before moto takes it."""
    if method == "PUT" and _PUT.fullmatch(path):
        if headers.get("x-amz-Checksum") != _sha256(body):
            raise Ec2Error("ValidationException", "INVALID_CHECKSUM: the block is not what its checksum says")
    elif method == "POST" and (found := _COMPLETION.fullmatch(path)):
        blocks = sorted(ebs_backends[ACCOUNT][REGION].snapshots[found[1]].blocks.items())
        digests = b"".join(base64.b64decode(block.checksum or "") for _, block in blocks)
        if int(headers.get("x-amz-ChangedBlocksCount", "0")) != len(blocks):
            raise Ec2Error("ValidationException", "INVALID_CHANGED_BLOCKS_COUNT: blocks are missing")
        if headers.get("x-amz-Checksum") != _sha256(digests):
            raise Ec2Error("ValidationException", "INVALID_CHECKSUM: the snapshot is not what its checksum says")
    elif method == "GET" and path.endswith("/blocks"):
        snapshot = path.split("/")[2]
        if backend().snapshots[snapshot].status != "completed":
            raise Ec2Error("ValidationException", "INVALID_SNAPSHOT_STATE: it is not completed")


def follow(method: str, path: str, answer: bytes) -> None:
    """Have EC2 tell of the snapshot as it now is."""
    if method == "POST" and path == "/snapshots":
        backend().snapshots[json.loads(answer)["SnapshotId"]].status = "pending"
    elif method == "POST" and (found := _COMPLETION.fullmatch(path)):
        backend().snapshots[found[1]].status = "completed"


def _sha256(data: bytes) -> str:
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def name_in_use(action: str, parameters: Mapping[str, Any]) -> Ec2Error | None:
    """Why an image cannot be registered under a name that another of the account has; None where it can."""
    if action != "RegisterImage":
        return None
    name = parameters.get("Name")
    other = next((one.id for one in backend().amis.values() if one.name == name and one.owner_id == ACCOUNT), "")
    words = f"AMI name {name} is already in use by AMI {other}"
    return Ec2Error("InvalidAMIName.Duplicate", words) if other else None
