"""What moto's EKS lacks and a real one has: a security group for each cluster, who may ask its API server, add-ons.

- The cluster's own group, made in the VPC of its subnets with the tags that load balancers look for, told by the
  cluster, and gone with it.
- Access entries, for principals that there are and clusters that go by them, with the policies of each.
- Add-ons, active as soon as they are made.

Clusters themselves are moto's. What it does not do: updates, tags, paging, the versions of add-ons, an API server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast
from urllib.parse import unquote

from moto.backends import get_backend

from tests.support.ec2_launches import ACCOUNT, REGION

Ask = Callable[..., Awaitable[dict[str, Any]]]
Answer = tuple[int, bytes, str]
"""HTTP status, body, and the name of an error."""
Passed = Callable[[], Awaitable[Answer]]
_TYPES = ("STANDARD", "EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX", "EC2", "HYBRID_LINUX", "HYPERPOD_LINUX")
_NODES = {"username": "system:node:{{EC2PrivateDNSName}}", "kubernetesGroups": ["system:nodes"]}


class EksError(Exception):
    """An error of EKS: its HTTP status, its name and why."""

    def __init__(self, status: int, name: str, message: str) -> None:
        super().__init__(message)
        self.status, self.name = status, name


class Eks:
    """The clusters of one account. `ask` is EC2."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._groups: dict[str, str] = {}
        self._modes: dict[str, dict[str, Any]] = {}
        self._entries: dict[tuple[str, str], dict[str, Any]] = {}
        self._policies: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
        self._addons: dict[tuple[str, str], dict[str, Any]] = {}

    async def answer(self, method: str, path: str, body: bytes, passed: Passed) -> Answer:
        """What is said to a request; `passed` is what moto says to it."""
        try:
            match [unquote(word) for word in path.split("/")[1:]]:
                case ["clusters", *named] if len(named) < 2:
                    return await self._cluster(method, named, body, passed)
                case ["clusters", cluster, "access-entries" | "addons" as kind, *rest]:
                    self._known(cluster)
                    does = self._entry if kind == "access-entries" else self._addon
                    return 200, json.dumps(does(method, cluster, rest, json.loads(body or b"{}"))).encode(), ""
                case _:
                    return await passed()
        except EksError as refusal:
            return refusal.status, json.dumps({"message": str(refusal)}).encode(), refusal.name

    async def _cluster(self, method: str, named: list[str], body: bytes, passed: Passed) -> Answer:
        status, answer, error = await passed()
        if status >= 300 or (method == "GET" and not named):
            return status, answer, error
        told = json.loads(answer)
        cluster: dict[str, Any] = told["cluster"]
        name: str = cluster["name"]
        if method == "POST" and not named:
            said = json.loads(body)
            self._modes[name] = said.get("accessConfig") or {"authenticationMode": "CONFIG_MAP"}
            self._groups[name] = await self._group(name, said["resourcesVpcConfig"]["subnetIds"][0])
        cluster["accessConfig"] = self._modes[name]
        cluster["resourcesVpcConfig"]["clusterSecurityGroupId"] = self._groups[name]
        if method == "DELETE":
            await self._ask("DeleteSecurityGroup", GroupId=self._groups.pop(name))
            self._entries = {key: one for key, one in self._entries.items() if key[0] != name}
            self._policies = {key: one for key, one in self._policies.items() if key[0] != name}
            self._addons = {key: one for key, one in self._addons.items() if key[0] != name}
        return status, json.dumps(told).encode(), ""

    async def _group(self, name: str, subnet: str) -> str:
        vpc = (await self._ask("DescribeSubnets", SubnetIds=[subnet]))["Subnets"][0]["VpcId"]
        tags = {"aws:eks:cluster-name": name, f"kubernetes.io/cluster/{name}": "owned"}
        made = await self._ask(
            "CreateSecurityGroup", GroupName=f"eks-cluster-sg-{name}-1", VpcId=vpc,
            Description="EKS created security group applied to ENI that is attached to EKS Control Plane master nodes",
            TagSpecifications=[{"ResourceType": "security-group",
                                "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}],
        )  # fmt: skip
        return str(made["GroupId"])

    def _known(self, cluster: str) -> None:
        if cluster not in self._groups:
            raise EksError(404, "ResourceNotFoundException", f"No cluster found for name: {cluster}.")

    def _entry(self, method: str, cluster: str, rest: list[str], said: dict[str, Any]) -> dict[str, Any]:
        if not self._modes[cluster].get("authenticationMode", "").startswith("API"):
            why = "The cluster's authentication mode must be set to one of [API, API_AND_CONFIG_MAP]"
            raise EksError(400, "InvalidRequestException", f"{why} to perform this operation.")
        match method, rest:
            case "POST", []:
                return {"accessEntry": self._new_entry(cluster, said)}
            case "GET", []:
                return {"accessEntries": [who for name, who in self._entries if name == cluster]}
            case "GET", [who]:
                return {"accessEntry": self._of(cluster, who)}
            case "DELETE", [who]:
                self._of(cluster, who)
                del self._entries[cluster, who]
                self._policies.pop((cluster, who), None)
                return {}
            case _, [who, "access-policies", *policy]:
                return self._policy(method, self._of(cluster, who), policy, said)
            case _:
                raise EksError(400, "InvalidRequestException", f"the tests' EKS has no {method} of {rest}")

    def _new_entry(self, cluster: str, said: dict[str, Any]) -> dict[str, Any]:
        who, kind = said["principalArn"], said.get("type", "STANDARD")
        if (cluster, who) in self._entries:
            why = "The specified access entry resource is already in use on this cluster."
            raise EksError(409, "ResourceInUseException", why)
        if who not in _principals() or kind not in _TYPES:
            why = "The specified principalArn is invalid: invalid principal."
            raise EksError(400, "InvalidParameterException", why)
        groups = {"username": said.get("username", who), "kubernetesGroups": said.get("kubernetesGroups", [])}
        made = {
            **(groups if kind == "STANDARD" else _NODES), "clusterName": cluster, "principalArn": who, "type": kind,
            "tags": said.get("tags", {}), "accessEntryArn": _arn("access-entry", cluster, who.rpartition("/")[2]),
            "createdAt": time.time(), "modifiedAt": time.time(),
        }  # fmt: skip
        self._entries[cluster, who] = made
        return made

    def _policy(self, method: str, entry: dict[str, Any], named: list[str], said: dict[str, Any]) -> dict[str, Any]:
        who = {"clusterName": entry["clusterName"], "principalArn": entry["principalArn"]}
        there = self._policies.setdefault((entry["clusterName"], entry["principalArn"]), {})
        match method, named:
            case "POST", []:
                if entry["type"] != "STANDARD":
                    why = "AccessPolicy can only be associated with STANDARD access entries."
                    raise EksError(400, "InvalidRequestException", why)
                kept = {name: said[name] for name in ("policyArn", "accessScope")}
                there[said["policyArn"]] = {**kept, "associatedAt": time.time(), "modifiedAt": time.time()}
                return {**who, "associatedAccessPolicy": there[said["policyArn"]]}
            case "GET", []:
                return {**who, "associatedAccessPolicies": list(there.values())}
            case "DELETE", [policy] if policy in there:
                del there[policy]
                return {}
            case _:
                raise EksError(404, "ResourceNotFoundException", "The specified access policy is not associated.")

    def _of(self, cluster: str, who: str) -> dict[str, Any]:
        if (cluster, who) not in self._entries:
            why = "The specified principalArn could not be found."
            raise EksError(404, "ResourceNotFoundException", why)
        return self._entries[cluster, who]

    def _addon(self, method: str, cluster: str, rest: list[str], said: dict[str, Any]) -> dict[str, Any]:
        name = rest[0] if rest else str(said.get("addonName"))
        there = self._addons.get((cluster, name))
        if method == "POST" and not rest:
            if there is not None:
                raise EksError(409, "ResourceInUseException", "Addon already exists.")
            self._addons[cluster, name] = {
                "addonName": name, "clusterName": cluster, "status": "ACTIVE", "health": {"issues": []},
                "addonVersion": said.get("addonVersion", "v1.0.0-eksbuild.1"), "addonArn": _arn("addon", cluster, name),
                "createdAt": time.time(), "modifiedAt": time.time(), "tags": said.get("tags", {}),
            }  # fmt: skip
            return {"addon": self._addons[cluster, name]}
        if there is None:
            raise EksError(404, "ResourceNotFoundException", f"No addon: {name} found in cluster: {cluster}")
        if method == "DELETE":
            del self._addons[cluster, name]
        return {"addon": there}


def _principals() -> set[str]:
    """ARNs of whom there is in the account."""
    iam: Any = cast("Any", get_backend("iam"))[ACCOUNT]["aws"]
    return {str(one.arn) for one in (*iam.roles.values(), *iam.users.values())}


def _arn(kind: str, cluster: str, name: str) -> str:
    return f"arn:aws:eks:{REGION}:{ACCOUNT}:{kind}/{cluster}/{name}/1"
