"""What is forked begins as a program does, and who asked for it sees how it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODULE = """
import os, sys
from pathlib import Path

def main():
    open_ones = [each for each in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{each}")]
    name = Path("/proc/self/cmdline").read_text().strip(chr(0))
    print(name, *sorted(open_ones), os.getsid(0) == os.getpid(), "learnt" in sys.modules, flush=True)
    said = sys.stdin.read()
    if said == "hang":
        import signal
        signal.pause()
    sys.exit(len(said))
"""
ASKING = """
import asyncio, os, signal, sys
from asyncio.subprocess import PIPE
from pathlib import Path
from hostkit import forker, forked
from hostkit.resolving_loop import ResolvingLoop

async def begun(asks=False):
    made = await forked.fork("of_test", stdin=PIPE, stdout=PIPE, asks=asks)
    print((await made.stdout.readline()).decode().strip())
    return made

async def asked():
    sys.modules["learnt"] = os
    secret = os.open("/dev/null", os.O_RDONLY)
    for asks in (False, True):
        one = await begun(asks)
        one.stdin.write(b"seven..")
        one.stdin.close()
        print(await one.wait(), one.returncode)
        one.close()
    two = await begun()
    two.stdin.write(b"hang")
    two.stdin.close()
    two.send_signal(signal.SIGTERM)
    print(await two.wait())
    two.close()
    try:
        two.kill()
    except ProcessLookupError:
        print("over")
    print(await forked.fork("of_nothing", stdin=PIPE, stdout=PIPE, asks=False))
    three = await begun()
    os.kill(int(Path(f"/proc/{three.pid}/stat").read_text().rpartition(")")[2].split()[1]), signal.SIGKILL)
    print(await three.wait())
    three.close()
    print(await forked.fork("of_test", stdin=PIPE, stdout=PIPE, asks=False))
    os.close(secret)

with forker.beside():
    with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
        runner.run(asked())
print("ended")
"""
OF_A_FORK = "python -m of_test 0 1 2 {}True False"


def test_what_is_forked_has_its_streams_only_and_its_end_is_told(tmp_path: Path) -> None:
    (tmp_path / "of_test.py").write_text(MODULE)
    environment = {"PYTHONPATH": ":".join([str(tmp_path), *sys.path])}
    command = [sys.executable, "-W", "error", "-c", ASKING]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    plain, asking = OF_A_FORK.format(""), OF_A_FORK.format("3 ")
    assert done.stdout.splitlines() == [
        *(plain, "7 7"),
        *(asking, "7 7"),
        *(plain, "-15", "over"),
        "None",
        *(plain, "-9", "None"),
        "ended",
    ], done.stderr
    assert done.stderr.count("Traceback") == 1
    assert "No module named 'of_nothing'" in done.stderr


def test_a_forker_ends_with_the_process_that_it_is_for(tmp_path: Path) -> None:
    """Its standard error is ours, at its end once nobody has it open any more."""
    killed = "import os, signal\nfrom hostkit import forker\nwith forker.beside(): os.kill(os.getpid(), signal.SIGKILL)"
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", killed], env=environment, capture_output=True, cwd=tmp_path, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (-9, b"")
