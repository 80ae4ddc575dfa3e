"""Whether a container that ended is started again: the pod's policy, its own, and rules by exit code. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from controller.objects.schema.containers import AnyContainer
from controller.pods.run import Terminated


class Rule(msgspec.Struct, frozen=True):
    """Exit codes after which a container is started again, whatever its policy says."""

    operator: Literal["In", "NotIn"]
    values: frozenset[int] = frozenset()

    def matches(self, exit_code: int) -> bool:
        """Whether the rule speaks of this exit code."""
        return (exit_code in self.values) == (self.operator == "In")


class Policy(msgspec.Struct, frozen=True):
    """A restart policy: "Always", "OnFailure" or "Never", and the rules that go before it.

    `successes` is False where a success is never repeated, as an init container's.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    successes: bool = True


ALWAYS, NEVER = Policy("Always"), Policy("Never")


def policy_of(container: AnyContainer, pods_own: str, *, init: bool) -> Policy:
    """The policy of a container that is no sidecar and was declared with its pod, whose policy is `pods_own`."""
    own = container.restartPolicy
    codes = [one.exitCodes for one in container.restartPolicyRules if one.exitCodes is not None] if own else []
    rules = tuple(Rule("In" if one.operator == "In" else "NotIn", frozenset(one.values)) for one in codes)
    return Policy(own or pods_own, rules, successes=not init)


def restarts(policy: Policy, state: Terminated) -> bool:
    """Whether a container that ended so is started again."""
    if state.exit_code == 0 and not policy.successes:
        return False
    if any(rule.matches(state.exit_code) for rule in policy.rules):
        return True
    return policy.name == "Always" or (policy.name == "OnFailure" and state.exit_code != 0)
