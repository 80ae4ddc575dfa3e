"""The main job, in front of you: plain kubectl, a pod in a cell of its own, and everything gone at the end.

Starts a controller with its local cloud and a registry with one small image, then does with kubectl what a person
would do, a line per step with its time. KEEP=1 leaves it running. Nothing that it started survives it otherwise,
however it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from examples import image, story
from examples.asking import BIN, FOLDER, HERE, KUBECONFIG, SITE, Failed, chinampa, kubectl, kubectl_status, until
from examples.site import addresses, free_port
from examples.telling import chapter, console, show, show_seconds, step, took

REGISTRY_PORT = 5055
ESCAPES = re.compile(rb"\x1b\[[0-9;]*[a-zA-Z]")
POD = HERE / "examples" / "web.yaml"


def controller_toml(subnet: str) -> str:
    """The controller of the demonstration: pods API on loopback, local cloud on a bridge of its own."""
    return f"""\
state = "{FOLDER}/state"

[link]
host = "{subnet}.1"
port = 7711

[api]
port = {free_port(SITE.api_port)}

[cloud]
kind = "local"

[cloud.local]
cluster = "{SITE.cluster}"
root = "{FOLDER}/cloud"
bridge = "{SITE.bridge}"
subnet = "{subnet}.0/24"

[[registries]]
host = "registry.demo"
mirrors = ["http://{subnet}.1:{REGISTRY_PORT}"]
"""


def registry_yml(subnet: str) -> str:
    """A registry that only the bridge sees."""
    return f"""\
version: 0.1
storage: {{filesystem: {{rootdirectory: {FOLDER}/registry}}}}
http: {{addr: "{subnet}.1:{REGISTRY_PORT}"}}
"""


def main() -> int:
    """Run the demonstration; 0 when every step did what it must."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    # A shell that starts us in the background has it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    keep = os.environ.get("KEEP", "") not in {"", "0"}
    stop_former()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    kept = False
    try:
        with started():
            walk()
            kept = keep
            if kept:
                say_how_to_use()
                return 0
    except (Failed, subprocess.TimeoutExpired, OSError) as failure:
        print(f"\ndemo: {failure}\n", file=sys.stderr)
        show_logs()
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; cleaning up", file=sys.stderr)
        return 130
    finally:
        if not kept:
            # A second Ctrl-C must not leave half of it behind.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
            stop_former()
            shutil.rmtree(FOLDER, ignore_errors=True)
    return 0


def walk() -> None:
    """What a person does with kubectl."""
    with chapter("A pod in a cell of its own"):
        stages = one_pod()
    story.tell()
    with chapter("The end of it"):
        with step("kubectl delete pod web"):
            kubectl("delete", "pod", "web", "--grace-period=2")
        with step("the instance is gone"):
            until(lambda: not json.loads(chinampa("cells", "--json")), 30, "the instance of the deleted pod is there")
    show_seconds("The first cell", stages)


def one_pod() -> dict[str, float]:
    """A pod, its log, terminal and port; seconds of each stage of its cell."""
    title = "kubectl apply -f examples/web.yaml, until Running"
    with step(title):
        kubectl("apply", "-f", str(POD))
        kubectl("wait", "--for=condition=Ready", "pod/web", "--timeout=60s")
    show(kubectl("get", "pods", "-o", "wide"))
    with step("kubectl logs -f, three lines"):
        show(log_lines(3))
    with step("kubectl exec -it web -- sh, in a terminal"):
        show(in_terminal(("tty; echo size $(stty size); hostname", "exit 0")))
    with step("kubectl exec web -- sh -c 'exit 7'"):
        status = kubectl_status("exec", "web", "--", "sh", "-c", "exit 7")
        if status != 7:
            raise Failed(f"exec ended with {status} where the command ended with 7")
        show(f"exit status {status}")
    with step("kubectl exec web -- true"):
        kubectl("exec", "web", "--", "true")
    with step("kubectl port-forward and an HTTP GET"):
        show(forwarded_page())
    show(chinampa("cells"))
    return {**moments(), "pull": pull_seconds(), "apply to Running, in all": took[title]}


def log_lines(count: int) -> str:
    """Follow the log until so many lines have come."""
    command = ["kubectl", f"--kubeconfig={KUBECONFIG}", "logs", "-f", "web"]
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            deadline = time.monotonic() + 30
            for line in process.stdout:
                lines.append(line)
                if len(lines) == count or time.monotonic() > deadline:
                    break
        finally:
            process.kill()
    if len(lines) < count:
        raise Failed(f"kubectl logs -f gave {len(lines)} lines of {count}")
    return "".join(lines)


def in_terminal(lines: Sequence[str]) -> str:
    """Type lines into `kubectl exec -it`, which believes to be on a terminal; what the terminal showed."""
    pid, terminal = pty.fork()
    if pid == 0:
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
        os.execvp("kubectl", ["kubectl", f"--kubeconfig={KUBECONFIG}", "exec", "-it", "web", "--", "sh"])
    shown = b""
    try:
        for line in lines:
            shown += read_until(terminal, b"# ", 15)
            os.write(terminal, line.encode() + b"\n")
        shown += read_until(terminal, b"", 15)
    finally:
        os.close(terminal)
        _, status = os.waitpid(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0 or b"/dev/pts/" not in shown:
        raise Failed(f"the terminal session went wrong: {shown.decode(errors='replace')}")
    return ESCAPES.sub(b"", shown).replace(b"\r", b"").decode(errors="replace")


def read_until(terminal: int, prompt: bytes, seconds: float) -> bytes:
    """Read from a terminal until a prompt, the end, or too long."""
    shown = b""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.5)
        if not ready:
            continue
        with suppress(OSError):  # a closed terminal says EIO
            if data := os.read(terminal, 4096):
                shown += data
                # A shell may ask for the cursor's position behind its prompt, and clear what is below.
                if prompt and ESCAPES.sub(b"", shown).endswith(prompt):
                    return shown
                continue
        return shown
    raise Failed(f"the terminal did not answer: {shown.decode(errors='replace')}")


def forwarded_page() -> str:
    """Forward a port of the pod to a free one here and fetch the page."""
    command = ["kubectl", f"--kubeconfig={KUBECONFIG}", "port-forward", "pod/web", ":8080"]
    line = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            port = int(line.split("127.0.0.1:")[1].split()[0])
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=15) as page:
                text = page.read().decode()
        except (IndexError, ValueError) as error:
            raise Failed(f"kubectl port-forward said {line!r}") from error
        finally:
            process.terminate()
    if "Hello" not in text:
        raise Failed(f"the page is not the pod's: {text!r}")
    return text


def moments() -> dict[str, float]:
    """Seconds of each stage of the pod's cell."""
    cell = json.loads(chinampa("cells", "--json"))[0]
    return {name: float(seconds) for name, seconds in cell["stages"].items()}


def pull_seconds() -> float:
    """How long the pull took, as the pod's event says."""
    events = kubectl("get", "events", "--field-selector", "reason=Pulled", "-o", "jsonpath={.items[*].message}")
    found = re.search(r" in ([0-9.]+)s", events)
    return float(found[1]) if found else 0.0


@contextmanager
def started() -> Generator[None]:
    """The controller and the registry, up and filled."""
    subnet = SITE.subnet(addresses(SITE.bridge))
    registry = f"http://{subnet}.1:{REGISTRY_PORT}"
    (FOLDER / "controller.toml").write_text(controller_toml(subnet))
    (FOLDER / "registry.yml").write_text(registry_yml(subnet))
    with step("start the controller, its local cloud, and a registry with one image"):
        program = [str(BIN / "chinampa"), "controller", "--config", str(FOLDER / "controller.toml")]
        controller = spawn("controller", program)
        until(lambda: controller.poll() is not None or serves(), 120, "the controller does not answer")
        if controller.poll() is not None:
            raise Failed(f"the controller ended with {controller.returncode}")
        spawn("registry", ["docker-registry", "serve", str(FOLDER / "registry.yml")])
        until(lambda: answers(registry), 15, "the registry does not answer")
        image.push(registry, "web", "1")
    yield


def serves() -> bool:
    """Whether the pods API is up."""
    return KUBECONFIG.exists() and kubectl_status("get", "--raw", "/healthz") == 0


def answers(registry: str) -> bool:
    """Whether the registry is up."""
    try:
        with urllib.request.urlopen(f"{registry}/v2/", timeout=2):
            return True
    except OSError:
        return False


def spawn(name: str, command: list[str]) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its words in a file, its pid where the next run finds it."""
    with (FOLDER / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True, cwd=FOLDER
        )
    (FOLDER / f"{name}.pid").write_text(str(process.pid))
    return process


def stop_former() -> None:
    """Stop what this run or an earlier one started, and remove every trace of its instances."""
    for name in ("controller", "registry"):
        with suppress(OSError, ValueError):
            pid = int((FOLDER / f"{name}.pid").read_text())
            if name.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.killpg(pid, signal.SIGTERM)
                for _ in range(100):
                    if not Path(f"/proc/{pid}").exists() or _is_zombie(pid):
                        break
                    time.sleep(0.1)
                else:
                    os.killpg(pid, signal.SIGKILL)
    subprocess.run([sys.executable, "-m", "examples.sweep"], cwd=HERE, timeout=60, check=False)


def _is_zombie(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return not Path(f"/proc/{pid}").exists()


def show_logs() -> None:
    """The last words of what was started, for the person who must find out why."""
    for path in sorted(FOLDER.glob("*.log")):
        print(f"--- last lines of {path.name}", file=sys.stderr)
        lines = path.read_text(errors="replace").splitlines()[-25:]
        print("\n".join(line[:200] for line in lines), file=sys.stderr)


def say_how_to_use() -> None:
    """What a person can do with what was left running."""
    server = re.search(r"server: (\S+)", KUBECONFIG.read_text())
    lines = {
        "It runs on. Use it": f"export KUBECONFIG={KUBECONFIG}",
        "": "kubectl apply -f examples/web.yaml; kubectl get pods -o wide",
        "See its dashboard": f"{server[1] if server else ''}/ui (log in with the token of that file)",
        "See its cells": f".venv/bin/chinampa cells --config {FOLDER}/controller.toml",
        "Stop it": ".venv/bin/python -m examples.stop",
    }
    console.print()
    for what, how in lines.items():
        console.print(f"{what + ':' if what else '':<20} {how}", markup=False)


if __name__ == "__main__":
    sys.exit(main())
