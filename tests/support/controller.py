"""The real controller as a process of its own, with its local cloud and a real registry, for plain kubectl."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import secrets
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from controller.clouds.local.local_settings import LocalSettings
from controller.clouds.local.sweep import Leftovers, leftovers, sweep
from examples import image
from tests.support import preloaded, rsa_keys
from tests.support.preloaded import RunningProgram
from tests.support.registry import free_port

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
# Most of it is imports, beside whatever else the machine does; one that ends is not waited for.
START_SECONDS = 180.0
RUN = "import sys; from controller.cli import main; sys.exit(main())"
# Each controller of this process has one of its own, also beside others; another process has another network.
NETWORKS = itertools.count()
LOOK_SECONDS = 0.1


@dataclass
class Controller:
    """One controller, which may be killed and started again over the same folder."""

    folder: Path
    cloud: LocalSettings
    process: RunningProgram | None = None
    environment: dict[str, str] = field(default_factory=dict[str, str])
    prefix: tuple[str, ...] = ()
    """What runs it."""
    gateway: str = ""
    """This machine's address, as its cells see it."""

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "state" / "kubeconfig"

    async def start(self) -> None:
        """Start it and wait until its API answers."""
        await self.spawn()
        await self.answering()

    async def spawn(self) -> None:
        """Start it."""
        arguments = ("controller", "--config", str(self.folder / "controller.toml"))
        environment = {**ENVIRONMENT, **self.environment}
        with (self.folder / "controller.log").open("ab") as log:
            if not self.prefix and not preloaded.needs_an_own_beginning(self.environment):
                self.process = await preloaded.spawn(arguments, log.fileno(), environment)
                return
            self.process = await asyncio.create_subprocess_exec(
                *self.prefix, sys.executable, "-c", RUN, *arguments,
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True,
            )  # fmt: skip

    async def answering(self) -> None:
        """Wait until its API answers."""
        process = self.process
        assert process is not None
        try:
            async with asyncio.timeout(START_SECONDS):
                while process.returncode is None:
                    if self.kubeconfig.exists() and (await self.ask("/healthz"))[0] == 200:
                        return
                    await asyncio.sleep(LOOK_SECONDS)
        except TimeoutError as error:
            raise AssertionError(self.words()) from error
        raise AssertionError(self.words())

    async def kill(self, number: int = signal.SIGKILL) -> None:
        """End it by a signal."""
        if self.process is not None:
            if self.process.returncode is None:
                self.process.send_signal(number)
            await self.process.wait()
            self.process = None

    def words(self) -> str:
        """The end of its log."""
        return "\n".join((self.folder / "controller.log").read_text().splitlines()[-30:])

    def without_traceback(self) -> str:
        """The whole log, which must hold no traceback of ours."""
        said = (self.folder / "controller.log").read_text()
        assert "Traceback" not in said, said[max(0, said.index("Traceback") - 500) :][:6000].replace("\\n", "\n")
        return said

    async def kubectl(self, *arguments: str, stdin: str = "", seconds: float = 60.0) -> str:
        """Run kubectl; its output."""
        status, output, errors = await self.kubectl_raw(*arguments, stdin=stdin, seconds=seconds)
        assert status == 0, f"kubectl {' '.join(arguments)}: {status}: {errors or output}\n{self.words()}"
        return output

    async def kubectl_raw(self, *arguments: str, stdin: str = "", seconds: float = 60.0) -> tuple[int, str, str]:
        """Run kubectl; how it ended, output, errors."""
        process = await asyncio.create_subprocess_exec(
            "kubectl", f"--kubeconfig={self.kubeconfig}", *arguments,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            async with asyncio.timeout(seconds):
                output, errors = await process.communicate(stdin.encode())
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, output.decode(), errors.decode()

    async def ask(self, path: str) -> tuple[int, str]:
        """What the API answers to kubectl's user, without a process for each look: HTTP's status, 0 where nothing
        answers, and the text.
        """
        config = json.loads(self.kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
                session.get(
                    cluster["server"] + path,
                    headers={"Authorization": f"Bearer {user['token']}"},
                    ssl=ssl.create_default_context(cadata=authority),
                ) as reply,
            ):
                return reply.status, await reply.text()
        except (aiohttp.ClientError, TimeoutError) as error:
            return 0, str(error)

    async def cells(self) -> list[dict[str, Any]]:
        """What `chinampa cells --json` prints, asked as it asks, without a process for each look."""
        connector = aiohttp.UnixConnector(str(self.folder / "state" / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://controller/cells") as reply,
        ):
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def run(self, *arguments: str, ends: int = 0) -> str:
        """Run `chinampa`; its output."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RUN, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT,
        )  # fmt: skip
        output, errors = await process.communicate()
        assert process.returncode == ends, f"chinampa {' '.join(arguments)}: {errors.decode()}{output.decode()}"
        return output.decode()

    async def until(self, ready: Callable[[list[dict[str, Any]]], bool], seconds: float = 40.0) -> None:
        """Wait until the cells are so."""
        cells: list[dict[str, Any]] = []
        for _ in range(int(seconds * 4)):
            cells = await self.cells()
            if ready(cells):
                return
            await asyncio.sleep(0.25)
        raise AssertionError(f"{cells}\n{self.words()}")

    async def read(self, path: str) -> Any:
        """What a GET of the API answers, which must be JSON: what a loop that waits looks at."""
        status, text = await self.ask(path)
        assert status == 200, f"{path}: {status}: {text}\n{self.words()}"
        return json.loads(text)

    async def pod(self, name: str) -> dict[str, Any]:
        """A pod, as the API tells it."""
        return await self.read(f"/api/v1/namespaces/default/pods/{name}")

    async def events(self, name: str) -> list[dict[str, Any]]:
        """The events of what has this name."""
        listed = await self.read(f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}")
        return listed["items"]

    async def logged(self, name: str, text: str) -> None:
        """Wait until a pod's log has a text: its lines come a moment after it is ready."""
        async with asyncio.timeout(60.0):
            while text not in (shown := await self.ask(f"/api/v1/namespaces/default/pods/{name}/log"))[1]:
                assert shown[0] == 200, f"{shown}\n{self.words()}"
                await asyncio.sleep(LOOK_SECONDS)

    async def left(self) -> Leftovers:
        """What there is of its instances on this machine."""
        return await leftovers(self.cloud)


@asynccontextmanager
async def running_controller(
    folder: Path,
    more: str = "",
    lease: int = 10,
    prefix: tuple[str, ...] = (),
    *,
    fleet: str = "",
    pods_call_it: bool = False,
) -> AsyncGenerator[Controller]:
    """A controller with a registry that holds "registry.demo/web:1"; nothing of it is left afterwards.

    `more` is added to its config file, with this machine's address for GATEWAY, `fleet` to its table of that name; a
    cell that is silent for `lease` seconds is lost. `prefix` is a command that runs it. Pods reach its API where
    `pods_call_it`.
    """
    name = secrets.token_hex(3)
    third = next(NETWORKS) % 256
    gateway = f"10.230.{third}.1"
    registry = free_port()
    cloud = LocalSettings(
        cluster=f"e2e-{name}", root=folder / "cloud", bridge=f"ch{name}", subnet=f"10.230.{third}.0/24"
    )
    open_to_pods = f'host = "{gateway}"\npods_address = "{gateway}"\n' if pods_call_it else ""
    (folder / "controller.toml").write_text(
        f'state = "{folder}/state"\n'
        f'[link]\nhost = "{gateway}"\nport = {free_port()}\n[api]\nport = {free_port()}\n{open_to_pods}'
        f"[fleet]\nlease = {lease}\nheartbeat = 1\n{fleet}\n"
        f'[cloud.local]\ncluster = "{cloud.cluster}"\nroot = "{cloud.root}"\nbridge = "{cloud.bridge}"\n'
        f'subnet = "{cloud.subnet}"\nvisible = ["{ROOT}"]\n{more.replace("GATEWAY", gateway)}'
        f'[[registries]]\nhost = "registry.demo"\nmirrors = ["http://{gateway}:{registry}"]\n'
    )
    rsa_keys.give_identity_key(cloud.root)
    controller = Controller(folder, cloud, prefix=prefix, gateway=gateway)
    try:
        await controller.start()
        async with _registry(folder, gateway, registry):
            yield controller
    finally:
        await controller.kill(signal.SIGTERM)
        await sweep(cloud)


@asynccontextmanager
async def _registry(folder: Path, host: str, port: int) -> AsyncGenerator[None]:
    settings = folder / "registry.yml"
    settings.write_text(
        f"version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n"
        f'http: {{addr: "{host}:{port}"}}\n'
    )
    process = await asyncio.create_subprocess_exec("docker-registry", "serve", str(settings))
    try:
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                break
            except OSError:
                await asyncio.sleep(0.1)
        await asyncio.to_thread(image.push, f"http://{host}:{port}", "web", "1")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
