"""The second half of the demonstration: workloads, a Service by its name, words that change, all with plain kubectl."""

from __future__ import annotations

import json
from collections import Counter

from examples.asking import HERE, Failed, chinampa, kubectl, until
from examples.telling import chapter, show, step

SHOP, JOB = HERE / "examples" / "shop.yaml", HERE / "examples" / "job.yaml"
NEW_WORDS = '{"data": {"welcome": "Welcome to more\\n"}}'
NAME = "shop.default.svc.cluster.local"
# So often the Service is asked who answers.
ASKED = 15


def tell() -> None:
    """Apply, scale up, ask by name, change words, run a job, scale to nothing. The pod `web` is there, and asks."""
    with chapter("A Deployment behind a Service, reached by its name from another cell"):
        with step("kubectl apply -f examples/shop.yaml, until rolled out"):
            kubectl("apply", "-f", str(SHOP))
            kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
        with step("kubectl scale deployment/shop --replicas=5"):
            kubectl("scale", "deployment/shop", "--replicas=5")
            kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
        show(kubectl("get", "deployment,service,pods", "-l", "app!=web", "-o", "name"))
        with step(f"kubectl exec web, which asks {NAME} {ASKED} times"):
            show(_who_answers())
    with chapter("A ConfigMap that changes under running pods"):
        with step("kubectl patch configmap words, until the shop says it"):
            before = _page()
            kubectl("patch", "configmap", "words", "-p", NEW_WORDS)
            until(lambda: "to more" in _page(), 30, f"the shop goes on saying {before!r}")
            show(f"before: {before.strip()}\nnow:    {_page().strip()}")
    with chapter("A Job of three parts, a cell each"):
        with step("kubectl apply -f examples/job.yaml, until complete"):
            kubectl("apply", "-f", str(JOB))
            kubectl("wait", "--for=condition=complete", "job/sums", "--timeout=60s")
            show("\n".join(sorted(kubectl("logs", "-l", "job-name=sums").splitlines())))
    with chapter("To zero, and nothing is paid for"):
        with step("kubectl scale deployment/shop --replicas=0, until its instances are gone"):
            kubectl("scale", "deployment/shop", "--replicas=0")
            until(lambda: _cells() == {"default/web"}, 40, "instances of the shop are still there")
        kubectl("delete", "-f", str(SHOP), "-f", str(JOB))


def _ask(path: str, times: int = 1) -> str:
    """What the Service answers to the pod `web`. Its static busybox cannot wget by a name; nslookup and nc it can."""
    look = f"nslookup -type=a {NAME} | busybox awk '/^Name/ {{ found = 1 }} found && /^Address/ {{ print $2; exit }}'"
    fetch = f"(printf 'GET /{path} HTTP/1.0\\r\\n\\r\\n'; sleep 0.5) | nc -w 5 $at 80 | busybox tail -n 1"
    return kubectl("exec", "web", "--", "sh", "-c", f"at=$({look}); for n in $(seq {times}); do {fetch} & done; wait")


def _who_answers() -> str:
    # A cell learns a name when its pod first asks for it, and all of those behind it at once.
    counted = Counter(_ask("who", ASKED).split())
    if sum(counted.values()) != ASKED or len(counted) < 2:
        raise Failed(f"the Service did not share its requests out: {dict(counted)}")
    return "\n".join(f"{name} answered {count}" for name, count in sorted(counted.items()))


def _page() -> str:
    return _ask("")


def _cells() -> set[str]:
    return {cell["pod"] for cell in json.loads(chinampa("cells", "--json"))}
