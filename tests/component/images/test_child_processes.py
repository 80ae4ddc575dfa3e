"""Processes of the images' room, and how they end."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE

import pytest

from cellagent.images import child_processes
from hostkit import programs

STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")


async def test_a_process_that_is_being_ended_is_gone_though_who_ends_it_is_cancelled_again_and_again() -> None:
    process = await programs.launch(STUBBORN, stdout=PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    ending = asyncio.create_task(child_processes.end(process, grace=60))
    for _ in range(3):
        await asyncio.sleep(0)
        ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert process.returncode == -9
    programs.kill_session(process.pid)


async def test_a_process_that_does_not_go_when_asked_is_killed() -> None:
    process = await programs.launch(STUBBORN, stdout=PIPE)
    assert process.stdout is not None
    await process.stdout.readline()
    await child_processes.end(process, grace=0.05)
    assert process.returncode == -9
    programs.kill_session(process.pid)
