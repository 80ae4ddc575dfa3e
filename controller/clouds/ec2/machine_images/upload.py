"""A disk becomes a snapshot by the EBS direct APIs: only blocks with data, many at once, each checked, resumable."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cellwire.faults import Fault, Kind
from controller.clouds.ec2.calls import Calls
from controller.clouds.ec2.machine_images import blocks
from controller.clouds.ec2.machine_images.blocks import Block, Journal, Surveyed
from controller.clouds.ec2.tags import tag_list

AT_ONCE = 24
# Minutes without a block after which AWS gives up a snapshot that was begun.
TIMEOUT_MINUTES = 60
_COMPLETED = 1800.0
_LOOK_AGAIN = 2.0


async def snapshot(
    calls: Calls,
    disk: Path,
    surveyed: Surveyed,
    tags: Mapping[str, str],
    key: str,
    on_block: Callable[[int], None],
) -> str:
    """Upload a disk, or what is missing of it; the id of the completed snapshot, encrypted with `key` (empty: the
    account's own). `on_block` is told how many blocks are there. Raises Fault.
    """
    journal = Journal(disk.with_name(disk.name + ".upload"))
    made, there = journal.done(surveyed.sha256)
    if not made or await _state(calls, made) != "pending":
        made, there = await _begin(calls, surveyed, tags, key), frozenset[int]()
        journal.begin(surveyed.sha256, made)
    done = len(there)
    on_block(done)
    left = iter([block for block in surveyed.blocks if block.index not in there])

    async def put_some(left: Iterator[Block]) -> None:
        nonlocal done
        for block in left:
            await _put(calls, disk, made, block)
            journal.put(block.index)
            done += 1
            on_block(done)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(AT_ONCE):
                tasks.create_task(put_some(left))
    except ExceptionGroup as group:
        raise group.exceptions[0] from group
    await calls.call(
        "ebs",
        "CompleteSnapshot",
        SnapshotId=made,
        ChangedBlocksCount=len(surveyed.blocks),
        Checksum=blocks.linear_checksum(surveyed.blocks),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    await completed(calls, made)
    journal.forget()
    return made


async def completed(calls: Calls, snapshot: str) -> None:
    """Wait until a snapshot can be used. Raises Fault BROKEN where AWS gives it up, TIMEOUT after half an hour."""
    try:
        async with asyncio.timeout(_COMPLETED):
            while (state := await _state(calls, snapshot)) != "completed":
                if state == "error":
                    raise Fault(Kind.BROKEN, f"snapshot {snapshot}", "AWS says that it has failed", "publish again")
                await asyncio.sleep(_LOOK_AGAIN)
    except TimeoutError as error:
        cause = f"it is not completed after {_COMPLETED:.0f} s"
        raise Fault(Kind.TIMEOUT, f"snapshot {snapshot}", cause, "publish again: nothing is uploaded twice") from error


async def _begin(calls: Calls, surveyed: Surveyed, tags: Mapping[str, str], key: str) -> str:
    encryption: dict[str, Any] = {"Encrypted": True, **({"KmsKeyArn": key} if key else {})}
    begun = await calls.call(
        "ebs",
        "StartSnapshot",
        VolumeSize=surveyed.gib,
        Description=f"Chinampa cell {surveyed.sha256[:12]}",
        Tags=tag_list(tags),
        Timeout=TIMEOUT_MINUTES,
        **encryption,
    )
    return str(begun["SnapshotId"])


async def _put(calls: Calls, disk: Path, snapshot: str, block: Block) -> None:
    data = await asyncio.to_thread(blocks.read, disk, block.index)
    await calls.call(
        "ebs",
        "PutSnapshotBlock",
        SnapshotId=snapshot,
        BlockIndex=block.index,
        BlockData=data,
        DataLength=len(data),
        Checksum=block.checksum,
        ChecksumAlgorithm="SHA256",
    )


async def _state(calls: Calls, snapshot: str) -> str:
    """As EC2 says it; "" where there is none of that id."""
    try:
        found = await calls.call("ec2", "DescribeSnapshots", SnapshotIds=[snapshot])
    except Fault as fault:
        if fault.kind is Kind.NOT_FOUND:
            return ""
        raise
    return next((str(one.get("State", "")) for one in found.get("Snapshots", ())), "")
