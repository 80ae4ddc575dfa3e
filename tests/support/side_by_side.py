"""The same commands of kubectl for two servers, and what their answers have in common: exit code and shape.

Run as a program (`python -m tests.support.side_by_side`, with KUBE_BIN) it prints every command whose answers differ.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.cluster import binaries, running_control_plane
from tests.support.pods_api import world

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "p", "labels": {"app": "p"}},
    "spec": {"containers": [{"name": "c", "image": "busybox:1", "command": ["sleep", "1000"]}]},
}
_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"a": "1"}}
_BAD_POD = {**POD, "metadata": {"name": "bad"}, "spec": {"containerz": []}}
_TWICE = {**POD, "metadata": {"name": "bad"}, "spec": {"containers": [POD["spec"]["containers"][0]] * 2}}  # type: ignore[index]
_HANDED_OVER = {**_MAP, "metadata": {"name": "over"}}
_SLICE = {
    "apiVersion": "discovery.k8s.io/v1",
    "kind": "EndpointSlice",
    "metadata": {"name": "slice", "labels": {"kubernetes.io/service-name": "d"}},
    "addressType": "IPv4",
    "endpoints": [{"addresses": ["10.9.8.7"]}],
    "ports": [{"port": 8080}],
}
_QUOTA = '{"spec":{"hard":{"pods":"1"}}}'


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """How a command ended, and in which shape."""

    code: int
    shape: tuple[str, ...]


def case(text: str, given: object = None) -> tuple[tuple[str, ...], str]:
    """A command, in words, and what it reads."""
    return tuple(text.split()), json.dumps(given) if given is not None else ""


# One after another; what one makes, later ones use.
COMMANDS = (
    case("apply -f -", POD),
    case("apply -f -", POD),
    case("create -f -", POD),
    case("get pods"),
    case("get pods -o wide --no-headers=false"),
    case("get pod p -o json"),
    case("get pod p -o name"),
    case("get pods --show-labels"),
    case("get pods -l app=p -o name"),
    case("get pods -l app=none"),
    case("get pods --field-selector=metadata.name=p -o name"),
    case("get pods --field-selector=spec.foo=p"),
    case("get pods -A --sort-by=.metadata.name -o name"),
    case("get pod p -o jsonpath={.spec.containers[*].name}"),
    case("get pod p -o custom-columns=N:.metadata.name"),
    case("get pod nope"),
    case("get pod nope --ignore-not-found"),
    case("get nope"),
    case("get pods -n nope"),
    case("label pod p a=b"),
    case("label pod p a=c"),
    case("label pod p a=c --overwrite"),
    case("label pod p a=not/valid/value --overwrite"),
    case("annotate pod p x=y"),
    case('patch pod p -p {"metadata":{"labels":{"k":"v"}}}'),
    case('patch pod p --type=json -p [{"op":"add","path":"/metadata/labels/j","value":"1"}]'),
    case('patch pod p --type=json -p [{"op":"test","path":"/metadata/labels/j","value":"2"}]'),
    case('patch pod p --type=merge -p {"spec":{"hostNetwork":true}}'),
    case('patch pod p -p {"spec":{"containers":[{"name":"c","image":"busybox:2"}]}}'),
    case("apply --server-side --field-manager=other -f -", {**POD, "metadata": {"name": "p", "labels": {"app": "q"}}}),
    case("apply --server-side --force-conflicts -f -", {**POD, "metadata": {"name": "p", "labels": {"app": "q"}}}),
    case("diff -f -", {**POD, "metadata": {"name": "p", "labels": {"app": "z"}}}),
    case("apply -f - --dry-run=server", {**POD, "metadata": {"name": "dry"}}),
    case("get pod dry"),
    case("apply -f -", _BAD_POD),
    case("apply -f - --validate=false", _BAD_POD),
    case("apply -f -", _TWICE),
    case("apply -f -", {**POD, "metadata": {"name": "Not_A_Name"}}),
    case("apply -f -", {"apiVersion": "foo/v1", "kind": "Bar", "metadata": {"name": "b"}}),
    case("apply -f -", _HANDED_OVER),
    case("apply --server-side -f -", _HANDED_OVER),
    case("apply --server-side -f -", {**_HANDED_OVER, "data": {"a": "2"}}),
    case("apply --server-side --field-manager=other -f -", {**_HANDED_OVER, "data": {"a": "3"}}),
    case('patch configmap over --type=json -p [{"op":"replace","path":"/metadata/managedFields","value":[{}]}]'),
    case("create configmap m --from-literal=a=1"),
    case("create configmap m --from-literal=a=1"),
    case("replace -f -", _MAP),
    case("replace -f -", {**_MAP, "metadata": {"name": "m", "resourceVersion": "1"}}),
    case("get configmap m -o jsonpath={.data.a}"),
    case("delete configmap m --dry-run=server"),
    case("delete configmap m"),
    case("delete configmap m"),
    case("create secret generic s --from-literal=k=v"),
    case("get secret s -o jsonpath={.data.k}"),
    case("create secret tls t --cert=/none --key=/none"),
    case("create serviceaccount bot"),
    case("create token bot --duration=10m"),
    case("create token bot --duration=1m"),
    case("create token none"),
    case("create deployment d --image=busybox --replicas=0"),
    case("scale deployment d --replicas=1"),
    case("scale deployment d --replicas=-1"),
    case("set image deployment/d busybox=busybox:2"),
    case("set env deployment/d A=b"),
    case("rollout pause deployment/d"),
    case("rollout resume deployment/d"),
    case("rollout restart deployment/d"),
    case("rollout history deployment/none"),
    case("get deployments"),
    case("get rs --no-headers=false"),
    case("expose deployment d --port=80"),
    case("get services d"),
    case("create -f -", _SLICE),
    case("describe service d"),
    case("get endpointslice slice -o jsonpath={.ports}"),
    case("set resources deployment/d --requests=cpu=1m"),
    case("set serviceaccount deployment/d bot"),
    case("get deployment d --subresource=scale -o name"),
    case('patch deployment d --subresource=scale --type=merge -p {"spec":{"replicas":0}}'),
    case("scale deployment d --replicas=1 --current-replicas=5"),
    case("label service d k=v --dry-run=server"),
    case("annotate deployment d k=v --overwrite"),
    case('patch deployment d -p {"spec":{"selector":{"matchLabels":{"app":"z"}}}}'),
    case("delete service d --dry-run=server"),
    case("create job j --image=busybox -- true"),
    case("get jobs"),
    case("create cronjob cj --image=busybox --schedule=*/5_*_*_*_* -- true"),
    case("create quota q --hard=pods=100"),
    case(f"patch quota q -p {_QUOTA}"),
    case("get quota q"),
    case("run over --image=busybox"),
    case("delete quota q"),
    case("create role r --verb=get --resource=pods"),
    case("create namespace x"),
    case("create namespace x"),
    case("run a --image=busybox -n nope"),
    case("explain pods.spec.containers.image"),
    case("explain pods.spec.nope"),
    case("auth can-i create pods"),
    case("auth whoami"),
    case("auth can-i list nodes"),
    case("api-resources --api-group=apps --no-headers -o name"),
    case("get --raw /healthz"),
    case("get --raw /nope"),
    case("get --raw /apis/apps/"),
    case("get --raw /apis/"),
    case("get --raw /"),
    case("get pod p --subresource=status -o name"),
    case("taint nodes nope a=b:NoSchedule"),
    case("drain nope"),
    case("explain deployments.spec.strategy"),
    case("explain cronjob.spec.schedule"),
    case("get events --field-selector=involvedObject.name=none"),
    case("wait --for=jsonpath={.metadata.name}=p pod/p --timeout=5s"),
    case("wait --for=condition=Nope pod/p --timeout=1s"),
    case("wait --for=delete pod/none --timeout=1s"),
    case("logs nope"),
    case("exec nope -- true"),
    case("logs p -c nope"),
    case("top nodes"),
    case("cordon nope"),
    case("certificate approve nope"),
    case("delete pod p --grace-period=0 --force"),
    case("delete pod p"),
    case("delete pods -l app=none"),
    case("delete deployment,job,cronjob,service d j cj --ignore-not-found"),
    case("delete namespace x --wait=false"),
    case("delete namespace default"),
)


def shape(code: int, out: str, err: str) -> tuple[str, ...]:
    """What an answer looks like, without what is different each time: names, numbers, moments, the words of faults."""
    said = [line for line in err.splitlines() if line.strip() and not line.startswith("Warning:")]
    if code:
        return tuple(_fault(line) for line in said[:1])
    text = out.strip()
    if text.startswith("{"):
        found = json.loads(text)
        return tuple(sorted(found)) if isinstance(found, dict) else ()
    lines = [line for line in [*text.splitlines(), *said] if line.strip()]
    if lines and re.fullmatch(r"[A-Z][A-Z() /-]*", lines[0].rstrip()):
        return (" ".join(lines[0].split()),)
    return tuple(_plain(line) for line in lines[:3])


def _fault(line: str) -> str:
    """The class of a fault: its reason, or its first words."""
    reason = re.match(r"Error from server(?: \((\w+)\))?", line)
    if reason is not None:
        return f"Error from server ({reason[1]})"
    return " ".join(_plain(line).split()[:4])


def _plain(line: str) -> str:
    line = re.sub(r"eyJ[\w.-]+", "TOKEN", line)
    return re.sub(r"[0-9a-z]*\d[0-9a-z]*", "N", line)


async def answers(run: Callable[[Sequence[str], str], Awaitable[tuple[int, str, str]]]) -> list[CommandOutcome]:
    """What a server answers to all commands, one after another."""
    found: list[CommandOutcome] = []
    for words, given in COMMANDS:
        code, out, err = await run([word.replace("_", " ") if "*" in word else word for word in words], given)
        found.append(CommandOutcome(code, shape(code, out, err)))
    return found


async def differences(programs: Path, folder: Path) -> dict[str, tuple[CommandOutcome, CommandOutcome]]:
    """The commands whose answers differ: that of the API server, and ours."""
    async with running_control_plane(programs, folder / "real") as cluster:
        theirs = await answers(lambda words, given: cluster.kubectl_raw(*words, stdin=given))
    (folder / "ours").mkdir()
    async with world(folder / "ours") as it:

        async def ours(words: Sequence[str], given: str) -> tuple[int, str, str]:
            ran = await it.kubectl(*words, stdin=given, deadline=60)
            return ran.code, ran.out, ran.err

        own = await answers(ours)
    pairs = zip(COMMANDS, theirs, own, strict=True)
    return {
        f"{number}: {' '.join(words)}": (one, other)
        for number, ((words, _), one, other) in enumerate(pairs)
        if one != other
    }


def main() -> int:
    """Print the differences."""
    programs = binaries()
    if programs is None:
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(differences(programs, Path(folder)))
    for command, (theirs, own) in found.items():
        print(f"{command}\n  API server: {theirs.code} {theirs.shape}\n  chinampa:   {own.code} {own.shape}")
    print(f"{len(COMMANDS)} commands, {len(found)} answers differ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
