"""Callers, and what they may: the controller's owner everything, a service account a role in its namespace, the bearer
of a grant what that says. Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from controller.objects.admission import ROLE
from controller.objects.fields import Json
from controller.objects.resource import Resource

OWNER = "chinampa-owner"
VIEW, EDIT, ADMIN = ROLES = ("view", "edit", "admin")
# On a service account: what its pods may do in their namespace, view or edit. Without it they may view.
_BEARER = "base64url.bearer.authorization.k8s.io."
_WRITES = ("create", "update", "patch", "delete", "deletecollection")
_SESSIONS = ("exec", "attach", "portforward", "proxy", "ephemeralcontainers")
_REVIEWED = frozenset({"authorization.k8s.io", "authentication.k8s.io"})
RBAC = "rbac.authorization.k8s.io"
_METHODS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """The caller: a name, groups, and a role, in one namespace or ("") everywhere; by which grant, if by one."""

    name: str
    groups: tuple[str, ...] = ()
    role: str = VIEW
    namespace: str = ""
    grant: str = ""

    @property
    def owns_all(self) -> bool:
        """Whether nothing is kept from them."""
        return self.role == ADMIN and not self.namespace


class AccessRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An access request: a verb on a resource, its part, in a namespace ("" for all), maybe of one name."""

    verb: str
    group: str = ""
    resource: str = ""
    part: str = ""
    namespace: str = ""
    name: str = ""


def shown(headers: Mapping[str, str]) -> str:
    """By what a request says who it is. A browser cannot give a WebSocket headers: as an API server does, a token is
    taken from the protocols that it asks for, of which none is ever answered with.
    """
    if given := headers.get("Authorization"):
        return given
    for protocol in headers.get("Sec-WebSocket-Protocol", "").split(","):
        name = protocol.strip()
        if name.startswith(_BEARER):
            text = name.removeprefix(_BEARER)
            try:
                return f"Bearer {base64.urlsafe_b64decode(text + '=' * (-len(text) % 4)).decode()}"
            except ValueError:
                return ""
    return ""


def owner() -> Who:
    """The administrator: whoever holds the controller's own token."""
    return Who(name=OWNER, groups=("system:masters", "system:authenticated"), role=ADMIN)


def account(namespace: str, name: str, annotations: Json) -> Who:
    """A service account."""
    role = EDIT if annotations.get(ROLE) == EDIT else VIEW
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return Who(name=f"system:serviceaccount:{namespace}:{name}", groups=groups, role=role, namespace=namespace)


def impersonates(headers: Mapping[str, str]) -> bool:
    """Whether somebody else is named as who acts: by a name, a group, a uid or extras."""
    return any(name.lower().startswith("impersonate-") and value for name, value in headers.items())


def wanted(method: str, path: str, *, watch: bool) -> AccessRequest | None:
    """What a request asks for; None for documents that everybody who is known may read."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, rest = "", parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, rest = parts[1], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) == 3 and rest[2] in {"status", "finalize"}:
        part = rest[2]
        return AccessRequest(verb=_METHODS.get(method, "get"), group=group, resource=rest[0], part=part, name=rest[1])
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    resource, name, part = (*rest[:3], "", "")[:3]
    verb = _METHODS.get(method, "get")
    if verb == "get" and not name:
        verb = "watch" if watch else "list"
    if verb == "delete" and not name:
        verb = "deletecollection"
    return AccessRequest(verb=verb, group=group, resource=resource, part=part, namespace=namespace, name=name)


def refusal(who: Who, asked: AccessRequest) -> str:
    """Why they may not; "" where they may."""
    if who.owns_all or asked.group in _REVIEWED:
        return ""
    changes = asked.part in _SESSIONS or asked.verb in _WRITES
    if who.namespace and asked.namespace != who.namespace:
        own = asked.resource == "namespaces" and asked.name == who.namespace and not asked.part
        return "" if own and asked.verb == "get" else f"it has rights in the namespace {who.namespace} only"
    if asked.resource == "secrets" and who.role == VIEW:
        return "the role view does not show secrets"
    if not changes:
        return ""
    if who.role == VIEW:
        return "the role view changes nothing"
    if not asked.namespace:
        return f"the role {who.role} changes nothing that is in no namespace"
    if asked.resource == "resourcequotas":
        return "quotas are changed by the role admin in all namespaces"
    if asked.group == RBAC and who.role != ADMIN:
        return f"the role {who.role} does not change roles"
    return ""


def sentence(who: Who, asked: AccessRequest, why: str) -> str:
    """A refusal as Kubernetes words it, with the reason."""
    part = f"/{asked.part}" if asked.part else ""
    where = f' in the namespace "{asked.namespace}"' if asked.namespace else " at the cluster scope"
    named = f'{asked.resource}{f".{asked.group}" if asked.group else ""} "{asked.name}" is forbidden: '
    can = f'User "{who.name}" cannot {asked.verb} resource "{asked.resource}{part}" in API group "{asked.group}"{where}'
    return f"{named}{can}: {why}"


def decision(who: Who, asked: AccessRequest, served: Iterable[Resource]) -> tuple[bool, str]:
    """Whether a thing can be done, and why (not): what is not served nobody can do."""
    found = [one for one in served if asked.resource in {one.name, "*"} and asked.group in {one.group, "*"}]
    if not found:
        named = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        return False, f"{named} are not served here"
    if asked.part:
        parts = [part for one in found if (part := one.subresource(asked.part)) is not None]
        verbs = {verb for part in parts for verb in part.verbs}
    else:
        verbs = {verb for one in found for verb in one.verbs}
    if asked.verb not in verbs and asked.verb != "*":
        return False, f"{asked.resource} have no verb {asked.verb} here"
    why = refusal(who, asked)
    return (False, why) if why else (True, f"the role {who.role} allows it")


def rules(who: Who, namespace: str, served: Sequence[Resource]) -> list[Json]:
    """All that may be done in a namespace, as a rules review lists it."""
    found: list[Json] = []
    for one in served:
        place = namespace if one.namespaced else ""
        verbs = [
            verb
            for verb in one.verbs
            if not refusal(who, AccessRequest(verb=verb, group=one.group, resource=one.name, namespace=place))
        ]
        if verbs:
            found.append({"verbs": verbs, "apiGroups": [one.group], "resources": [one.name]})
        for part in one.subresources:
            asked = [
                AccessRequest(verb=verb, group=one.group, resource=one.name, part=part.name, namespace=place)
                for verb in part.verbs
            ]
            if verbs := [each.verb for each in asked if not refusal(who, each)]:
                found.append({"verbs": verbs, "apiGroups": [one.group], "resources": [f"{one.name}/{part.name}"]})
    return found
