"""What the process that brings shared layers can see and do: what its work needs, and nothing else of this machine."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import msgspec
import pytest

from controller.clouds.local import shared_layers
from controller.clouds.local.instance_cgroups import Groups
from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.shared_layers import LayerShare
from hostkit import programs

pytestmark = [pytest.mark.skipif(os.geteuid() != 0, reason="namespaces need root"), pytest.mark.timeout(180)]

# Each line says what was tried and what came of it.
ATTEMPTS = """
import ctypes, json, os, resource, signal, sys
own, secret, outside = sys.argv[1:4]
libc = ctypes.CDLL(None, use_errno=True)

def tried(what):
    try:
        what()
    except OSError as error:
        return type(error).__name__
    return "done"

def call(name, *args):
    if getattr(libc, name)(*args) < 0:
        raise OSError(ctypes.get_errno(), name)

def write(path):
    with open(path, "w") as file:
        file.write("x")

def own_work():
    write(own + "/file")
    os.chown(own + "/file", 1234, 5678)
    os.mknod(own + "/whiteout", 0o020000, os.makedev(0, 0))

print(json.dumps({
    "work": tried(own_work),
    "secret": tried(lambda: open(secret).read()),
    "shadow": tried(lambda: open("/etc/shadow").read()),
    "state": os.path.exists(outside),
    "homes": [path for path in ("/home", "/var", "/run", "/sys") if os.path.exists(path) and os.listdir(path)],
    "pids": [int(name) for name in os.listdir("/proc") if name.isdecimal()],
    "programs": tried(lambda: write("/usr/written")),
    "sysctl": tried(lambda: write("/proc/sys/kernel/core_pattern")),
    "mount": tried(lambda: call("mount", b"none", own.encode(), b"tmpfs", 0, None)),
    "device": tried(lambda: os.mknod(own + "/disk", 0o060600, os.makedev(254, 0))),
    "controller": tried(lambda: os.kill(int(sys.argv[4]), 0)),
    "privileges": [line.split()[1] for line in open("/proc/self/status") if line.startswith(("NoNewPrivs", "CapEff"))],
    "largest": resource.getrlimit(resource.RLIMIT_FSIZE)[0],
}))
"""


async def shut_in(root: Path, script: str, *arguments: str) -> programs.Completed:
    """Run a script where the process that brings layers runs."""
    groups = Groups(f"bringer-{os.getpid()}")
    settings = LocalSettings(root=root, shared_layers_gib=1, python_path=())
    share = LayerShare(settings, groups)
    share.prepare()
    folder = root / "shared" / share.generation
    groups.prepare()
    groups.create("layers-0", memory_mib=200)
    plan = share.plan("layers-0", folder)
    plan["argv"] = [sys.executable, "-I", "-c", script, str(folder), *arguments]
    try:
        argv = [sys.executable, "-I", "-S", "-c", shared_layers.SHUT_IN, msgspec.json.encode(plan).decode()]
        return await programs.run(argv, deadline=120)
    finally:
        await share.clear()
        groups.remove()


async def test_it_writes_to_its_folder_and_has_nothing_else_of_this_machine(tmp_path: Path) -> None:
    secret = tmp_path / "admin-token"
    secret.write_text("secret")
    root = tmp_path / "cloud"
    done = await shut_in(root, ATTEMPTS, str(secret), str(tmp_path), str(os.getpid()))
    assert not done.returncode, done.words
    said = json.loads(done.stdout)
    assert said.pop("pids")[0] == 1
    capabilities, no_new = sorted(said.pop("privileges"), key=len, reverse=True)
    # chown, dac_override, fowner, fsetid, sys_chroot, setfcap
    assert (int(capabilities, 16), no_new) == (1 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 18 | 1 << 31, "1")
    assert said == {
        "work": "done",
        "secret": "FileNotFoundError",
        "shadow": "FileNotFoundError",
        "state": True,  # only as the way to its folder
        "homes": [],
        "programs": "OSError",
        "sysctl": "OSError",
        "mount": "PermissionError",
        "device": "PermissionError",
        "controller": "ProcessLookupError",
        "largest": 1 << 30,
    }
    (folder,) = (path for path in (root / "shared").iterdir() if path.is_dir())
    assert ((folder / "file").stat().st_uid, (folder / "file").stat().st_gid) == (1234, 5678)


async def test_it_has_a_bound_on_memory_and_takes_nothing_down_with_it(tmp_path: Path) -> None:
    takes = "kept = [bytearray(b'x' * (1 << 20)) for _ in range(2000)]"
    done = await shut_in(tmp_path, f"print('begun', flush=True); {takes}; print(len(kept))")
    assert done.returncode
    assert done.stdout.split() == [b"begun"], done.words
