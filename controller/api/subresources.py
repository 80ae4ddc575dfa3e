"""Parts of objects with paths of their own: containers put into a running pod, evictions."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from aiohttp import web

from controller.api.columns import selector
from controller.api.handlers import STRATEGIC, ending_of, how_of, patched, told
from controller.api.requests import answer, any_body, body
from controller.api.statuses import success
from controller.objects.admission import How
from controller.objects.fields import Invalid, Json, Report, bad_request
from controller.objects.kinds import SERVICE_ACCOUNTS
from controller.objects.library import Library
from controller.objects.resource import Resource
from controller.objects.schema import policies, reviews
from controller.objects.shapes import mistyped
from controller.objects.timestamps import timestamp
from controller.objects.tokens import AUDIENCE, Bearer, Tokens
from controller.pods import spec
from controller.pods.kind import PODS

# What is asked for beyond is shortened, as kube-apiserver does with its --service-account-max-token-expiration.
LONGEST_TOKEN = 48 * 3600
SCALES = Resource(name="scales", kind="Scale", type=policies.Scale, group="autoscaling")
_POD = f"{PODS.root}/namespaces/{{namespace}}/pods/{{name}}"


def route_all(router: web.UrlDispatcher, library: Library, tokens: Tokens) -> None:
    """The paths of these parts."""

    async def pod(request: web.Request) -> web.StreamResponse:
        return answer(library.find(PODS, request.match_info["namespace"], request.match_info["name"]))

    router.add_get(f"{_POD}/ephemeralcontainers", pod)
    for method in ("PUT", "PATCH"):
        router.add_route(method, f"{_POD}/ephemeralcontainers", partial(_put_in, library=library))
    for resource in library.resources:
        if resource.subresource("scale") is not None:
            one = f"{resource.root}/namespaces/{{namespace}}/{resource.name}/{{name}}/scale"
            router.add_get(one, partial(_scale, library=library, resource=resource))
            for method in ("PUT", "PATCH"):
                router.add_route(method, one, partial(_rescale, library=library, resource=resource))
    account = f"{SERVICE_ACCOUNTS.root}/namespaces/{{namespace}}/{SERVICE_ACCOUNTS.name}/{{name}}/token"
    router.add_post(account, partial(_token, library=library, tokens=tokens))
    router.add_post(f"{_POD}/eviction", partial(_evict, library=library))


async def _put_in(request: web.Request, library: Library) -> web.StreamResponse:
    """Put containers into a pod that runs; what is in it already stays as it is."""
    given = await any_body(
        request,
        (
            "application/json",
            "application/strategic-merge-patch+json",
            "application/merge-patch+json",
            "application/json-patch+json",
        ),
    )
    how = await how_of(request)
    kind = request.content_type

    def change(before: Json) -> Json:
        wanted: Any = given if request.method == "PUT" else patched(PODS, before, given, kind)
        if not isinstance(wanted, dict) or not isinstance(cast("Json", wanted).get("spec"), dict):
            raise bad_request("the result of the change is no Pod")
        return with_ephemeral(before, cast("Json", wanted)["spec"].get("ephemeralContainers") or [])

    namespace, name = request.match_info["namespace"], request.match_info["name"]
    changed = await _written(library, namespace, name, change, how)
    return told(answer(changed), how)


async def _written(library: Library, namespace: str, name: str, change: Any, how: How) -> Json:
    if how.dry_run:
        return change(library.find(PODS, namespace, name))
    return await library.keeper(PODS).change(namespace, name, change)


def with_ephemeral(before: Json, wanted: list[Json]) -> Json:
    """The pod with these ephemeral containers. Raises Invalid."""
    report = Report()
    held: list[Json] = before["spec"].get("ephemeralContainers") or []
    if [one.get("name") for one in wanted[: len(held)]] != [one["name"] for one in held]:
        report.forbidden("spec.ephemeralContainers", "existing ephemeral containers may not be removed")
    filled = spec.ephemeral_filled(before, wanted, report)
    for index, (one, other) in enumerate(zip(held, filled, strict=False)):
        if one != other:
            report.forbidden(f"spec.ephemeralContainers[{index}]", "existing ephemeral containers may not be changed")
    if report.causes:
        raise Invalid(before["metadata"]["name"], report.causes)
    return {**before, "spec": {**before["spec"], "ephemeralContainers": filled}}


async def _evict(request: web.Request, library: Library) -> web.StreamResponse:
    """Delete a pod as draining does. There is no budget to keep: see the warning of PodDisruptionBudgets."""
    eviction = await body(request)
    options = eviction.get("deleteOptions") or {}
    how = await how_of(request, options=options)
    namespace, name = request.match_info["namespace"], request.match_info["name"]
    await library.delete(PODS, namespace, name, ending_of(request, options), how, options.get("preconditions"))
    return told(answer(success(name, "pods"), 201), how)


def _selector_of(one: Json) -> Json:
    """The selector of a workload: that of a replication controller is a map of labels."""
    given: Json = one["spec"].get("selector") or {}
    return {"matchLabels": given} if one.get("kind") == "ReplicationController" else given


def scale_of(one: Json) -> Json:
    """How many replicas an object has and is to have, as autoscaling/v1 says it."""
    names = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    metadata = {name: one["metadata"][name] for name in names if name in one["metadata"]}
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": one["spec"].get("replicas", 1)},
        "status": {
            "replicas": (one.get("status") or {}).get("replicas", 0),
            "selector": selector(_selector_of(one)),
        },
    }


async def _scale(request: web.Request, library: Library, resource: Resource) -> web.StreamResponse:
    return answer(scale_of(library.find(resource, request.match_info["namespace"], request.match_info["name"])))


async def _rescale(request: web.Request, library: Library, resource: Resource) -> web.StreamResponse:
    given = await any_body(
        request, ("application/json", "application/merge-patch+json", STRATEGIC, "application/json-patch+json")
    )
    how, kind = await how_of(request), request.content_type

    def change(before: Json) -> Json:
        shown = scale_of(before)
        wanted: Any = given if request.method == "PUT" else patched(SCALES, shown, given, kind)
        if not isinstance(wanted, dict) or not isinstance(cast("Json", wanted).get("spec"), dict):
            raise bad_request("the result of the change is no Scale")
        scale = cast("Json", wanted)
        replicas = scale["spec"].get("replicas", 0)
        if isinstance(replicas, bool) or not isinstance(replicas, int) or not 0 <= replicas < 2**31:
            report = Report()
            report.invalid("spec.replicas", replicas, "must be a whole number, 0 or more")
            raise Invalid(before["metadata"]["name"], report.causes, "Scale", "autoscaling")
        version = (scale.get("metadata") or {}).get("resourceVersion", "")
        metadata = {**before["metadata"], "resourceVersion": version}
        return {**before, "metadata": metadata, "spec": {**before["spec"], "replicas": replicas}}

    namespace, name = request.match_info["namespace"], request.match_info["name"]
    return told(answer(scale_of(await library.change(resource, namespace, name, change, how))), how)


async def _token(request: web.Request, library: Library, tokens: Tokens) -> web.StreamResponse:
    """A token of a service account, as `kubectl create token` asks for it."""
    wanted = await body(request)
    namespace, name = request.match_info["namespace"], request.match_info["name"]
    account = library.find(SERVICE_ACCOUNTS, namespace, name)
    if why := mistyped(wanted, reviews.TokenRequest):
        raise bad_request(f"the body of the request is no TokenRequest: {why}")
    spec: Json = wanted.get("spec") or {}
    how, asked = How(), int(spec.get("expirationSeconds") or 3600)
    if asked < 600:
        raise bad_request("spec.expirationSeconds must be from 600 seconds on")
    seconds = min(asked, LONGEST_TOKEN)
    if seconds < asked:
        how.warn(f"requested expiration of {asked} seconds shortened to {seconds} seconds")
    audience = next(iter(spec.get("audiences") or ()), AUDIENCE)
    bound = _bound(library, namespace, name, spec.get("boundObjectRef") or {})
    bearer = Bearer(namespace, name, account["metadata"]["uid"], *bound, audience=audience)
    status = {
        "token": tokens.issue(bearer, seconds),
        "expirationTimestamp": timestamp(tokens.now() + seconds),
    }
    made = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "metadata": {"name": name}}
    spec = {**spec, "audiences": [audience], "expirationSeconds": seconds}
    return told(answer({**made, "spec": spec, "status": status}, 201), how)


def _bound(library: Library, namespace: str, account: str, wanted: Json) -> tuple[str, str]:
    """Name and uid of the pod with which the token is to end, if any. Raises Fault."""
    if not wanted:
        return "", ""
    kind, name = wanted.get("kind"), wanted.get("name") or ""
    if (kind, wanted.get("apiVersion")) != ("Pod", "v1"):
        raise bad_request(f"spec.boundObjectRef: a token can be bound to a Pod of v1 only, and not to a {kind}")
    pod = library.find(PODS, namespace, name)
    uid: str = pod["metadata"]["uid"]
    if wanted.get("uid") not in (None, "", uid):
        raise bad_request(f"spec.boundObjectRef.uid: the pod {name} has the uid {uid}")
    if pod["spec"].get("serviceAccountName") != account:
        raise bad_request(f"spec.boundObjectRef: the pod {name} does not run as the service account {account}")
    return name, uid
