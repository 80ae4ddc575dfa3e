"""The user-data of a stock image, run by this machine's shell and Python over a copy of its files: what it fetches,
what it starts, and what it says where there is no agent to be had.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from cellwire.rpc import giving
from controller.clouds.userdata import UserData, render
from controller.link import port
from controller.link.join_checks import Admission
from controller.link.port import LinkSettings
from controller.model.instance import Identity

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
# Everything that is written goes to an overlay; the console is a file; power-off is a word in it.
STAGE = """
set -e
mount -t tmpfs stage "$1"
mkdir "$1/up" "$1/work" "$1/root"
mount -t overlay overlay -o lowerdir=/,upperdir="$1/up",workdir="$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount -t tmpfs run "$1/root/run"
mount -t tmpfs dev "$1/root/dev"
mknod -m 666 "$1/root/dev/null" c 1 3
mknod -m 666 "$1/root/dev/urandom" c 1 9
: >"$1/root/dev/console"
mkdir "$1/root/run/own"
printf '#!/bin/sh\\necho off >>/dev/console\\nkill -9 -1\\n' >"$1/root/run/own/poweroff"
chmod +x "$1/root/run/own/poweroff"
cat >"$1/root/run/user-data"
chroot "$1/root" env -i PATH=/run/own:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin sh /run/user-data || true
cat "$1/root/dev/console"
[ ! -e "$1/root/run/started" ] || cat "$1/root/run/started"
"""
AGENT = "#!/bin/sh\necho started $0 $* at $CHINAMPA_USER_DATA_AT >/run/started\nkill -9 -1\n"


def nobody() -> Admission:
    raise Fault(Kind.UNAVAILABLE, "join", "nobody joins here")


def unknown(document: bytes, signature: bytes) -> Identity:
    raise AssertionError("nobody joins here")


def bundle(folder: Path) -> Path:
    path = folder / "agent.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("bin/cellagent", "libexec/crun"):
            member = tarfile.TarInfo(f"opt/chinampa/{name}")
            member.size, member.mode = len(AGENT), 0o755
            archive.addfile(member, io.BytesIO(AGENT.encode()))
    return path


async def run(folder: Path, text: str) -> str:
    """What is on the console, and what the agent left, once the script has ended."""
    stage = folder / "stage"
    stage.mkdir()
    # A process namespace of its own: the agent's double and power-off end everything in it but the first.
    process = await asyncio.create_subprocess_exec(
        "unshare", "--mount", "--pid", "--fork", "--propagation", "private", "sh", "-c", STAGE, "stage", str(stage),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate(text.encode())
    return output.decode()


async def test_the_agent_comes_from_the_controller_and_is_started(tmp_path: Path) -> None:
    here = LinkSettings(tmp_path / "link", "127.0.0.1", 0, ("127.0.0.1",), {"amd64": bundle(tmp_path)})
    async with port.running(here, nobody, unknown) as link:
        said = UserData(
            controllers=link.controllers, ca=link.authority.fingerprint, token="t", agents=dict(link.agents)
        )
        told = await run(tmp_path, render(said))
    assert "started /usr/local/bin/cellagent run --power-off at 1" in told, told


async def test_an_agent_with_another_hash_is_not_started_which_is_said_on_the_console_and_powers_off(
    tmp_path: Path,
) -> None:
    here = LinkSettings(tmp_path / "link", "127.0.0.1", 0, ("127.0.0.1",), {"amd64": bundle(tmp_path)})
    async with port.running(here, nobody, unknown) as link:
        told = await run(
            tmp_path,
            render(
                UserData(
                    controllers=link.controllers, ca=link.authority.fingerprint, token="t", agents={"amd64": "0" * 64}
                )
            ),
        )
    assert "cannot get its agent: " in told, told
    assert "is not the agent that the user-data names; powering off" in told
    assert "off\n" in told
    assert "started" not in told


async def test_who_finds_no_place_asks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = LinkSettings(tmp_path / "link", "127.0.0.1", 0, ("127.0.0.1",), {"amd64": bundle(tmp_path)})
    asked: list[str] = []
    admit = giving.Gifts.admit

    def admit_the_third(gifts: giving.Gifts, word: str | None, host: str) -> asyncio.Protocol | None:
        asked.append(host)
        return admit(gifts, word, host) if len(asked) > 2 else None

    monkeypatch.setattr(giving.Gifts, "admit", admit_the_third)
    async with port.running(here, nobody, unknown) as link:
        said = UserData(
            controllers=link.controllers, ca=link.authority.fingerprint, token="t", agents=dict(link.agents)
        )
        told = await run(tmp_path, render(said))
    assert "started /usr/local/bin/cellagent run --power-off at 1" in told, told
    assert len(asked) == 3
