"""A worker in an attacker's hands: its certificate opens the controller's port, and nothing of other workers' pods."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from cellwire.rpc.pinned import endpoint
from cellwire.rpc.reverse import WORKER
from controller.remote import enrolment
from controller.remote.worker_identity import WorkerIdentity
from tests.support.hostile import beside_pods, peak, peak_begins
from tests.support.stranger import FLOODS, claims_without_ends, flood
from tests.support.worker import fingerprint_of, joining, link_of

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="instances need root"), pytest.mark.timeout(900)]

# docs/threat-model.md says so of one worker, which may have four connections.
MOST_BYTES = 256 << 20
ENDLESS = 256 << 20
AT_ONCE = 4
SECONDS = 10.0


async def test_floods_of_a_worker_take_bounded_memory_and_nothing_of_an_honest_pod(tmp_path: Path) -> None:
    floods = (*[claims_without_ends] * AT_ONCE, *FLOODS)
    async with beside_pods(tmp_path) as (controller, honest):
        link = link_of(controller)[1]
        worker = WorkerIdentity(tmp_path / "evil")
        token = await joining(controller, "evil")
        await enrolment.joined(worker, [link], fingerprint_of(controller), token, lambda: True)
        host, port = endpoint(link)
        for first in range(0, len(floods), AT_ONCE):
            these = floods[first : first + AT_ONCE]
            before = peak_begins(controller)
            async with asyncio.TaskGroup() as tasks:
                sending = [
                    tasks.create_task(flood(host, port, what, ENDLESS, SECONDS, worker.calling(WORKER)))
                    for what in these
                ]
                await honest.holds()
            sent = [f"{what.__name__} {each.result() >> 10}" for what, each in zip(these, sending, strict=True)]
            print(f"KiB sent: {', '.join(sent)}; {(peak(controller) - before) >> 10} KiB more")
            assert all(each.result() for each in sending), sent
            assert peak(controller) - before < MOST_BYTES
        controller.without_traceback()
