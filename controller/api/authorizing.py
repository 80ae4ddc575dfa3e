"""Reviews: who one is, and what one may. They say what the server would do, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api import people
from controller.api.people import AccessRequest, Who
from controller.api.requests import WHO, answer, body
from controller.objects.fields import Json, bad_request
from controller.objects.kinds import SERVICE_ACCOUNTS
from controller.objects.library import Library
from controller.objects.resource import Resource
from controller.objects.shapes import decoded
from controller.objects.tokens import AUDIENCE, Bearer, Tokens


class Reviews:
    """Answers reviews about what is served."""

    def __init__(self, served: Sequence[Resource], tokens: Tokens, library: Library) -> None:
        self._served = served
        self._tokens = tokens
        self._library = library

    async def review(self, request: web.Request, resource: Resource) -> web.StreamResponse:
        """One review of any kind."""
        review: Json = await body(request)
        known = {"apiVersion": resource.api_version, "kind": resource.kind}
        who: Who = request[WHO]
        spec = _spec(review, resource)
        match resource.kind:
            case "SelfSubjectReview":
                status: Json = {"userInfo": {"username": who.name, "groups": list(who.groups)}}
            case "SelfSubjectRulesReview":
                found = people.rules(who, spec.get("namespace", ""), self._served)
                paths = ["/api", "/api/*", "/apis", "/apis/*", "/healthz", "/openapi/*", "/version"]
                read = {"verbs": ["get"], "nonResourceURLs": paths}
                status = {"resourceRules": found, "nonResourceRules": [read], "incomplete": False}
            case "TokenReview":
                bearer = self._tokens.read(str(spec.get("token", "")))
                stands = bearer is not None and stands_for(bearer, self._library)
                status = token_status(bearer if stands else None, spec.get("audiences") or [AUDIENCE])
            case "SubjectAccessReview" | "LocalSubjectAccessReview" if spec.get("user") != who.name:
                cause = "cannot tell of somebody else: this server knows nobody's rights but those of the one who asks"
                raise Fault(Kind.UNSUPPORTED, resource.kind, cause, "ask by kubectl auth can-i with their token")
            case _:
                status = self._access(who, spec)
        return answer({**review, **known, "status": status}, 201)

    def _access(self, who: Who, spec: Json) -> Json:
        attributes: Json | None = spec.get("resourceAttributes")
        if attributes is None:
            verb = (spec.get("nonResourceAttributes") or {}).get("verb", "")
            return {"allowed": verb == "get", "reason": "documents of the API can be read, and nothing else"}
        asked = AccessRequest(
            verb=attributes.get("verb", ""),
            group=attributes.get("group", ""),
            resource=attributes.get("resource", ""),
            part=attributes.get("subresource", ""),
            namespace=attributes.get("namespace", ""),
            name=attributes.get("name", ""),
        )
        allowed, why = people.decision(who, asked, self._served)
        return {"allowed": allowed, "reason": why}


def _spec(review: Json, resource: Resource) -> Json:
    """What a review asks, with the types of its kind. Raises Fault where it has others."""
    try:
        asked: Json = msgspec.to_builtins(decoded(review, resource.type))
    except msgspec.ValidationError as error:
        raise bad_request(f"{resource.kind}: {error}") from error
    return asked.get("spec") or {}


def stands_for(bearer: Bearer, library: Library) -> bool:
    """Whether the account of a token is there, and the pod with which it ends, if any."""
    account = library.objects(SERVICE_ACCOUNTS.key).get(bearer.namespace, bearer.account)
    if account is None or account["metadata"]["uid"] != bearer.uid:
        return False
    pod = library.objects("pods").get(bearer.namespace, bearer.pod) if bearer.pod else None
    return not bearer.pod or (pod is not None and pod["metadata"]["uid"] == bearer.pod_uid)


def token_status(bearer: Bearer | None, audiences: Sequence[str]) -> Json:
    """What a TokenReview says of a token: of one for other audiences too that it is none for these."""
    if bearer is None:
        return {"authenticated": False, "error": "the token is none of this server's, or is over"}
    if bearer.audience not in audiences:
        return {"authenticated": False, "error": f"the token is for {bearer.audience}, not for {', '.join(audiences)}"}
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{bearer.namespace}", "system:authenticated"]
    user = {"username": bearer.user, "uid": bearer.uid, "groups": groups}
    return {"authenticated": True, "user": user, "audiences": [bearer.audience]}
