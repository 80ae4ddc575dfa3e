"""The serial console of an instance, for who wants to know why it never joined."""

from __future__ import annotations

import base64
import binascii
import re

from controller.clouds.ec2.calls import Calls
from controller.model.names import InstanceId

MOST_LINES, MOST_SIGNS = 4, 400
# Colours and movements of a terminal, as "Control Functions for Coded Character Sets" (ECMA-48) forms them.
_SEQUENCES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|.)")


async def last_lines(calls: Calls, instance: InstanceId) -> str:
    """The end of the console, in a line. Raises Fault."""
    told = await calls.call("ec2", "GetConsoleOutput", InstanceId=instance)
    return readable(str(told.get("Output") or ""))


def readable(output: str) -> str:
    """The last lines of what EC2 answers, which is base64; an instance may write what it likes. Pure."""
    try:
        text = base64.b64decode(output, validate=True).decode(errors="replace")
    except (binascii.Error, ValueError):
        text = output  # the SDK may have decoded it already
    plain = "".join(sign for sign in _SEQUENCES.sub("", text) if sign == "\n" or sign.isprintable())
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return " | ".join(lines[-MOST_LINES:])[-MOST_SIGNS:]
