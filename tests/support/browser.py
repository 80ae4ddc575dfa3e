"""A headless Chromium, driven by the protocol of its developer tools."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.waiting import until, until_found

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One page: what is in it, what it asked for, what it complained of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.asked: list[str] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        async for message in self._socket:
            told = json.loads(message.data)
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
                continue
            self._heard(told["method"], told["params"])

    def _heard(self, method: str, params: dict[str, Any]) -> None:
        match method:
            case "Network.requestWillBeSent":
                self.asked.append(params["request"]["url"])
            case "Network.webSocketCreated":
                self.asked.append(params["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(params["exceptionDetails"]))
            case "Log.entryAdded" if params["entry"]["source"] == "security":
                self.complaints.append(params["entry"]["text"])
            case _:
                pass

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(30):
            told = await answer
        assert "error" not in told, told
        return told["result"]

    async def value(self, expression: str) -> Any:
        """What an expression is worth in the page."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    async def shows(self, words: str, within: str = "body", seconds: float = 30.0) -> None:
        """Wait until these words are in an element."""
        asked = f"(document.querySelector({within!r})?.innerText ?? '').includes({json.dumps(words)})"
        try:
            await until_found(lambda: self.value(asked), seconds)
        except TimeoutError:
            text = await self.value(f"document.querySelector({within!r})?.innerText")
            raise AssertionError(f"{words!r} was not seen in {text!r}") from None

    async def click(self, selector: str) -> None:
        await self.value(f"document.querySelector({selector!r}).click()")

    async def type(self, text: str) -> None:
        """Type into what has the focus; a line's end is the key Enter."""
        for char in text:
            if char == "\n":
                key: dict[str, Any] = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
            else:
                key = {"key": char, "text": char}
            await self.call("Input.dispatchKeyEvent", type="keyDown", **key)
            await self.call("Input.dispatchKeyEvent", type="keyUp", **{**key, "text": ""})

    async def picture(self, file: Path, *, dark: bool = False) -> None:
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.call("Emulation.setEmulatedMedia", features=[scheme])
        told = await self.call("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(told["data"]))


@asynccontextmanager
async def page(folder: Path, url: str, width: int = 1400, height: int = 1300) -> AsyncGenerator[Page]:
    """A page in a browser of its own."""
    assert PROGRAM is not None
    # Where the profile is, the browser says which port it took.
    profile = folder / "browser"
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
        *("--ignore-certificate-errors", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
        *("--disable-background-networking", "--no-proxy-server", f"--window-size={width},{height}", "about:blank"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        told = profile / "DevToolsActivePort"
        await until(lambda: told.exists() and "\n" in told.read_text(), 60)
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                found = next(one for one in await answer.json() if one["type"] == "page")
            async with session.ws_connect(found["webSocketDebuggerUrl"], max_msg_size=0) as socket:
                made = Page(socket)
                listening = tasks.create_task(made.listen())
                for domain in ("Page", "Runtime", "Network", "Log"):
                    await made.call(f"{domain}.enable")
                size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
                await made.call("Emulation.setDeviceMetricsOverride", **size)
                await made.call("Page.navigate", url=url)
                yield made
                listening.cancel()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
