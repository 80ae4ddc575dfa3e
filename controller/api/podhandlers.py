"""pods: get, list, watch, create, patch, replace, delete and delete the collection."""

from __future__ import annotations

import copy
from typing import Any, cast

from aiohttp import web

from cellwire.faults import Fault, Kind
from controller.api import patches
from controller.api.answers import bad_request
from controller.api.requests import answer, any_body, body, flag, listed, number, selected, shown
from controller.api.watch import watch
from controller.objects.fields import Cause, Invalid, Json, Report, labels, texts_by_name
from controller.pods.defaults import with_defaults
from controller.pods.engine import Pods

STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
IMMUTABLE = "Forbidden: pod updates may not change the spec; delete the pod and create it anew"


class PodHandlers:
    """HTTP to Pods."""

    def __init__(self, pods: Pods, bookmark_seconds: float) -> None:
        self._pods = pods
        self._bookmarks = bookmark_seconds

    async def list(self, request: web.Request) -> web.StreamResponse:
        """List or watch."""
        namespace = request.match_info.get("namespace", "")
        if flag(request, "watch"):
            return await watch(request, "pods", self._pods.objects, namespace, self._bookmarks)
        return listed(request, "pods", "PodList", self._pods.objects, namespace)

    async def get(self, request: web.Request) -> web.StreamResponse:
        """One pod."""
        return shown(request, "pods", self._find(request))

    async def create(self, request: web.Request) -> web.StreamResponse:
        """A new pod."""
        manifest = await body(request)
        pod = await self._pods.create(request.match_info["namespace"], manifest, dry_run=_dry_run(request, {}))
        return answer(pod, 201)

    async def patch(self, request: web.Request) -> web.StreamResponse:
        """Change labels and annotations; any other change is refused with its field."""
        patch = await any_body(request, (STRATEGIC, MERGE, JSON_PATCH))
        kind = request.content_type
        if kind != JSON_PATCH and not isinstance(patch, dict):
            raise bad_request("the body of the request must be a patch")
        return await self._change(request, lambda pod: _patched(pod, patch, kind))

    async def replace(self, request: web.Request) -> web.StreamResponse:
        """As patch, with the whole object."""
        wanted = await body(request)
        if not isinstance(wanted.get("metadata"), dict) or not isinstance(wanted.get("spec"), dict):
            raise bad_request("the body of the request must be a Pod")
        return await self._change(request, lambda _: wanted)

    async def _change(self, request: web.Request, change: Any) -> web.StreamResponse:
        namespace, name = request.match_info["namespace"], request.match_info["name"]

        def checked(pod: Json) -> Json:
            wanted = cast("Json", change(pod))
            _check_change(pod, wanted)
            return wanted

        if _dry_run(request, {}):
            return answer(checked(self._find(request)))
        return answer(await self._pods.change_metadata(namespace, name, checked))

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Ask for a pod's end."""
        options = await body(request)
        if _dry_run(request, options):
            return answer(self._find(request))
        preconditions = options.get("preconditions")
        uid = str(preconditions.get("uid") or "") if isinstance(preconditions, dict) else ""
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        return answer(await self._pods.delete(namespace, name, _grace(request, options), uid))

    async def delete_all(self, request: web.Request) -> web.StreamResponse:
        """Ask for the end of all pods that match."""
        options = await body(request)
        namespace = request.match_info["namespace"]
        matches, grace, dry_run = selected(request, "pods"), _grace(request, options), _dry_run(request, options)
        found = [pod for pod in self._pods.objects.list(namespace) if matches(pod)]
        if not dry_run:
            found = [await self._pods.delete(namespace, pod["metadata"]["name"], grace) for pod in found]
        revision = str(self._pods.objects.revisions.last)
        return answer(
            {"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": revision}, "items": found}
        )

    def _find(self, request: web.Request) -> Json:
        return self._pods.find(request.match_info["namespace"], request.match_info["name"])


def _dry_run(request: web.Request, options: Json) -> bool:
    wanted = request.query.getall("dryRun", []) or options.get("dryRun") or []
    if wanted not in ([], ["All"]):
        raise bad_request(f"invalid dryRun {wanted}: supported is All")
    return bool(wanted)


def _grace(request: web.Request, options: Json) -> int | None:
    given = options.get("gracePeriodSeconds")
    if given is None:
        return number(request, "gracePeriodSeconds")
    if isinstance(given, bool) or not isinstance(given, int) or not -1 <= given < 2**31:
        raise bad_request("gracePeriodSeconds must be a whole number of seconds, 0 or more")
    return None if given < 0 else given


def _patched(pod: Json, patch: object, kind: str) -> Json:
    if kind == JSON_PATCH:
        return patches.json_patch(pod, patch)
    patched = patches.strategic(pod, patch) if kind == STRATEGIC else patches.merge(pod, patch)
    return cast("Json", patched)


def _check_change(pod: Json, wanted: Json) -> None:
    """Refuse whatever a pod cannot change, with the field."""
    name = pod["metadata"]["name"]
    metadata: Any = wanted.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(wanted.get("spec"), dict):
        raise bad_request("the result of the patch is not a Pod")
    given = cast("Json", metadata)
    version = given.get("resourceVersion")
    if version and version != pod["metadata"]["resourceVersion"]:
        cause = "the object has been modified; please apply your changes to the latest version and try again"
        raise Fault(Kind.EXISTS, f'pods "{name}"', cause, reason="Conflict")
    causes = [
        Cause(f"metadata.{field}", "FieldValueInvalid", f'Invalid value: "{given[field]}": field is immutable')
        for field in ("name", "namespace", "uid", "creationTimestamp")
        if given.get(field) not in (None, pod["metadata"].get(field))
    ]
    causes += _metadata_causes(given)
    if _comparable(wanted["spec"]) != _comparable(pod["spec"]):
        causes.append(Cause("spec", "FieldValueForbidden", IMMUTABLE))
    if causes:
        raise Invalid(name, causes)


def _metadata_causes(metadata: Json) -> list[Cause]:
    report = Report()
    if metadata.get("labels") is not None:
        labels(metadata["labels"], "metadata.labels", report)
    if metadata.get("annotations") is not None:
        texts_by_name(metadata["annotations"], "metadata.annotations", report)
    return report.causes


def _comparable(spec: Json) -> Json:
    try:
        filled = with_defaults({"metadata": {}, "spec": copy.deepcopy(spec)})["spec"]
    except (KeyError, TypeError, AttributeError):
        return spec
    return {field: value for field, value in filled.items() if field != "nodeName" and value not in ([], {}, None)}
