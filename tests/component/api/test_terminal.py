"""The dashboard's terminal, in Node with as much of a browser as it asks for."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from importlib.resources import files
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: NOTHING here ran")
BROWSER = """
const node = () => ({ classList: { add() {} }, style: {}, append() {} });
globalThis.document = { createElement: node };
globalThis.ResizeObserver = class { observe() {} disconnect() {} };
globalThis.requestAnimationFrame = (draw) => { draw(); return 0; };
const heard = {}, sent = [];
const place = { replaceChildren() {}, addEventListener(name, told) { heard[name] = told; } };
const { Terminal } = await import("data:text/javascript;base64," + %s);
const terminal = new Terminal(place, (text) => sent.push(text), () => {});
const write = (text) => terminal.write(new TextEncoder().encode(text));
const paste = (text) => heard.paste({ preventDefault() {}, clipboardData: { getData: () => text } });
"""


async def ran(script: str) -> Any:
    """What the script logs last, as JSON."""
    source = (files("controller.api.dashboard") / "assets" / "terminal.js").read_bytes()
    browser = BROWSER % json.dumps(base64.b64encode(source).decode())
    process = await asyncio.create_subprocess_exec(
        "node", "--input-type=module", "-e", browser + script, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(out)


async def test_a_cursor_that_was_saved_in_a_larger_window_comes_back_inside() -> None:
    for restore in ("8", "[u"):
        script = f"""
            write("\\x1b[24;80H\\x1b7"); terminal.size(40, 10); write("\\x1b{restore}x");
            console.log(JSON.stringify([terminal.x, terminal.y, terminal.lines[9][39][0]]));
        """
        assert await ran(script) == [39, 9, "x"]


async def test_what_is_pasted_does_not_end_its_own_brackets() -> None:
    script = """
        write("\\x1b[?2004h"); paste("one\\x1b[201~\\nrm -rf x\\n");
        console.log(JSON.stringify(sent));
    """
    assert await ran(script) == ["\x1b[200~one[201~\rrm -rf x\r\x1b[201~"]
