"""Pods that count aloud, and what each of them must have said and become by its end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_COUNT = "n=0; while [ $n -lt {lines} ]; do n=$((n+1)); echo {name} $n; sleep {pause}; done; exit {code}"
_CRASH = (
    "echo . >> /kept/starts; s=$(wc -l < /kept/starts); echo {name} $s; "
    "[ $s -gt {crashes} ] && exit 0; sleep 0.3; exit 9"
)


ENDLESS = ("ever", "brief")


@dataclass(frozen=True)
class Pod:
    """A pod that ends once with a code (`once`), crashes twice before it is done (`crash`), or lives until somebody
    deletes it: late (`ever`), or at any moment (`brief`).
    """

    name: str
    kind: str
    lines: int = 150
    code: int = 0
    crashes: int = 2

    def manifest(self) -> dict[str, Any]:
        """What kubectl would send."""
        if self.kind == "crash":
            command = _CRASH.format(name=self.name, crashes=self.crashes)
        else:
            lines = self.lines if self.kind == "once" else 1_000_000
            command = _COUNT.format(lines=lines, name=self.name, pause=0.05, code=self.code)
        policy = {"once": "Never", "crash": "OnFailure"}.get(self.kind, "Always")
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name},
            "spec": {
                "restartPolicy": policy,
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {
                        "name": "main",
                        "image": "registry.demo/web:1",
                        "command": ["sh", "-c", command],
                        "resources": {"requests": {"cpu": "50m", "memory": "16Mi"}},
                        "volumeMounts": [{"name": "kept", "mountPath": "/kept"}],
                    }
                ],
                "volumes": [{"name": "kept", "emptyDir": {}}],
            },
        }

    def over(self, shown: dict[str, Any]) -> bool:
        """Whether it has come to its end."""
        return shown["status"].get("phase") in {"Succeeded", "Failed"}

    def wrong(self, shown: dict[str, Any], log: list[str], events: list[str], costs: str) -> str:
        """What is wrong with how it ended, or was when it was looked at; empty where nothing is.

        `costs` says which harm was done to a cell of it, if any was that ends pods.
        """
        status = shown["status"]
        one = (status.get("containerStatuses") or [{}])[0]
        if said := self._wrong_log(log, whole=self.kind == "once" and not costs):
            return f"{self.name}: {said}"
        if costs and (status.get("phase") == "Failed" or one.get("restartCount") or self.kind in ENDLESS):
            told = [*events, status.get("message", "")]
            if status.get("phase") == "Failed" and not any(told):
                return f"{self.name}: failed ({costs}), and nobody was told why"
            return ""
        return f"{self.name}: {said}" if (said := self._wrong_end(status, one)) else ""

    def _wrong_log(self, log: list[str], *, whole: bool) -> str:
        if self.kind == "crash":
            return ""
        expected = [f"{self.name} {number}" for number in range(1, len(log) + 1)]
        if log != expected:
            at = next(place for place, (one, other) in enumerate(zip(log, expected, strict=True)) if one != other)
            return f"line {at + 1} of {len(log)} reads {log[at]!r} after {log[max(at - 1, 0)]!r}"
        if whole and len(log) != self.lines:
            return f"{len(log)} of {self.lines} lines are there"
        return ""

    def _wrong_end(self, status: dict[str, Any], one: dict[str, Any]) -> str:
        if self.kind in ENDLESS:
            # Its container may be between two looks at a cell that is away; what counts is that none was started anew.
            return f"was started {one['restartCount']} times anew" if one.get("restartCount") else ""
        ended = one.get("state", {}).get("terminated", {})
        phase = "Failed" if self.code else "Succeeded"
        if status.get("phase") != phase or ended.get("exitCode") != self.code:
            return f"ended {status.get('phase')} {status.get('reason', '')} with {ended}, {phase} {self.code} expected"
        restarts = self.crashes if self.kind == "crash" else 0
        return f"was restarted {one['restartCount']} times, not {restarts}" if one["restartCount"] != restarts else ""
