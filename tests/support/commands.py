"""The command `chinampa` as a process of its own, on the tests' EC2."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from controller.clouds.ec2.ec2_settings import Ec2Settings
from tests.support.controller import ROOT

RUN = "import sys; from controller.cli import main; sys.exit(main())"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


def config_file(folder: Path, settings: Ec2Settings, more: str = "", *, top: str = "") -> Path:
    """A config file of the controller that these settings are of. `more` is added to [cloud.ec2], `top` above all."""
    values: dict[str, object] = {
        "region": settings.region,
        "endpoint_url": settings.endpoint_url,
        "subnets": list(settings.subnets),
        "image_amd64": settings.image_amd64,
        "image_arm64": settings.image_arm64,
        "certificates": str(settings.certificates),
        "account": settings.account,
        "queue_url": settings.queue_url,
    }
    table = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items() if value)
    path = folder / "controller.toml"
    path.write_text(
        f'state = "{folder / "state"}"\ncluster = "{settings.cluster}"\n{top}\n'
        f'[cloud]\nkind = "ec2"\n[cloud.ec2]\n{table}{more}\n'
    )
    return path


async def chinampa(*arguments: object) -> Done:
    """Run it to its end; its standard input is empty."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", RUN, *map(str, arguments)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
    )
    out, err = await process.communicate()
    return Done(process.returncode or 0, out.decode(), err.decode())
