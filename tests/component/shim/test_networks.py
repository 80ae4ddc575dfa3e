"""The network of pods through the shim, whose host is their cell."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.registry import free_port
from tests.support.shim import running_shim
from tests.support.waiting import until_found

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="cells of the local cloud need root"),
    pytest.mark.timeout(300),
]


async def test_a_host_port_is_one_of_the_pods_cell_whatever_address_of_the_worker_it_names(tmp_path: Path) -> None:
    async with running_shim(tmp_path, "") as shim:
        config = shim.config()
        port = free_port()
        config.port_mappings.add(container_port=80, host_port=port, host_ip="192.0.2.1")
        made = await shim.create(
            await shim.run(config), config, "sh", "-c", "while :; do echo hello | nc -l -p 80; done"
        )
        await shim.start(made)
        (cell,) = await shim.controller.cells()

        async def answered() -> bytes:
            try:
                reader, writer = await asyncio.open_connection(cell["address"], port)
                said = await reader.readline()
                writer.close()
            except OSError:
                return b""
            return said

        assert await until_found(answered) == b"hello\n"
