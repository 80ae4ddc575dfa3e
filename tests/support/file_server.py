"""An NFS server in user space: Ganesha, in front of a folder of this machine.

It speaks NFS 4 only, so that it needs no port mapper.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from hostkit import programs

PORT = 2049
_CONFIG = """\
NFS_CORE_PARAM {{ Protocols = 4; NFS_Port = {port}; Bind_addr = {address}; Enable_NLM = false; Enable_RQUOTA = false; }}
NFSv4 {{ RecoveryBackend = fs; RecoveryRoot = "{folder}/recovery"; Graceless = true; }}
EXPORT {{
    Export_Id = 1; Path = "{exported}"; Pseudo = "{path}"; Access_Type = RW; Squash = No_Root_Squash;
    SecType = sys; Protocols = 4; Transports = TCP; FSAL {{ Name = VFS; }}
}}
"""


def lacking() -> str:
    """What this machine lacks for it; "" where it has all."""
    return "" if shutil.which("ganesha.nfsd") else "no ganesha.nfsd: install nfs-ganesha and nfs-ganesha-vfs"


@asynccontextmanager
async def running_file_server(folder: Path, address: str, path: str) -> AsyncGenerator[Path]:
    """An NFS server at an address of this machine, which exports a new folder under `path`; that folder."""
    exported = folder / "exported"
    for each in (exported, folder / "recovery"):
        each.mkdir(parents=True)
    config, log = folder / "ganesha.conf", folder / "ganesha.log"
    config.write_text(_CONFIG.format(port=PORT, address=address, folder=folder, exported=exported, path=path))
    # Ganesha exports mount points: the folder is one by being bound to itself.
    await programs.check(["mount", "--bind", str(exported), str(exported)])
    try:
        argv = ["ganesha.nfsd", "-F", "-f", str(config), "-L", str(log), "-p", str(folder / "ganesha.pid")]
        process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL)
        try:
            async with asyncio.timeout(60):
                while not await _listens(address):
                    assert process.returncode is None, log.read_text()
                    await asyncio.sleep(0.1)
            yield exported
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
    finally:
        await programs.check(["umount", "--lazy", str(exported)])


async def _listens(address: str) -> bool:
    try:
        _, writer = await asyncio.open_connection(address, PORT)
    except OSError:
        return False
    writer.close()
    return True
