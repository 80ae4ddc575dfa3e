"""From what a client sends to an object that may be written: types, unknown fields, metadata, and what never changes.

The same for every kind. Pure.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, cast

import msgspec

from cellwire.faults import Fault, Kind
from controller.choice.requirements import PREFIX
from controller.objects.fields import (
    Cause,
    Invalid,
    Json,
    Report,
    bad_request,
    dns_name,
    labels,
    qualified_name,
    texts_by_name,
)
from controller.objects.resource import Resource
from controller.objects.shapes import mistyped, pruned, unknown
from controller.objects.stored import FOREGROUND, ORPHAN
from controller.objects.timestamps import timestamp

STRICT, WARN, IGNORE = "Strict", "Warn", "Ignore"
_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
LONGEST_PREFIX = 58
# Bytes of an object as JSON: what etcd takes of one request. Patches add up, so bounds of bodies alone are none.
LARGEST = 3 << 19
# Warnings are headers, of which clients take some dozens, and some KiB of each. A field is known by less.
MOST_WARNINGS, LONGEST_WARNING, LONGEST_PATH = 30, 500, 300
# What the server alone says of an object: whatever a client sends of it is passed over at its creation …
SERVERS = (
    *("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "managedFields"),
    *("resourceVersion", "selfLink", "uid"),
)
# … and these never change.
IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp")
# The one annotation of ours on what is no pod: what a service account may do.
ROLE = f"{PREFIX}role"
# Names of these kinds may be more than DNS knows.
_PATH_NAMES = frozenset({"roles", "rolebindings", "clusterroles", "clusterrolebindings"})


def everything(resource: Resource, before: Json | None, after: Json) -> None:
    """Nothing is kept from whoever writes."""


class How(msgspec.Struct, kw_only=True):
    """How a client wants something written. `warnings` collects what it is to be told; `veto` raises Fault where who
    writes may not make this of what was there before.
    """

    dry_run: bool = False
    manager: str = "unknown"
    validation: str = WARN
    duplicates: tuple[str, ...] = ()
    subresource: str = ""
    warnings: list[str] = []
    veto: Callable[[Resource, Json | None, Json], None] = everything

    def warn(self, sentence: str) -> None:
        """Tell the client something, once; no more, and no longer, than it would read."""
        shown = sentence if len(sentence) <= LONGEST_WARNING else f"{sentence[:LONGEST_WARNING]}…"
        if len(self.warnings) < MOST_WARNINGS and shown not in self.warnings:
            self.warnings.append(shown)


def read(resource: Resource, given: Json, how: How) -> Json:
    """The object that was sent, of the kind's type and with no field but its. Raises Fault."""
    for name, wanted in (("apiVersion", resource.api_version), ("kind", resource.kind)):
        if given.get(name, wanted) != wanted:
            raise bad_request(f"the {name} of the object ({given[name]}) does not match that of the request ({wanted})")
    if why := mistyped(given, resource.type):
        raise bad_request(f'{resource.kind} in version "{resource.version}" cannot be handled as one: {why}')
    found = [f'unknown field "{path[:LONGEST_PATH]}"' for path in islice(unknown(given, resource.shape), MOST_WARNINGS)]
    found += [f'duplicate field "{path[:LONGEST_PATH]}"' for path in how.duplicates]
    if found and how.validation == STRICT:
        raise bad_request(f"strict decoding error: {', '.join(found[:MOST_WARNINGS])}")
    if how.validation == WARN:
        for sentence in found:
            how.warn(sentence)
    return {"apiVersion": resource.api_version, "kind": resource.kind, **pruned(given, resource.shape)}


def fresh(resource: Resource, one: Json, namespace: str, now: float) -> Json:
    """A new object with the metadata that the server gives it. Raises Invalid and Fault."""
    metadata: Json = dict(one.get("metadata") or {})
    if resource.namespaced and metadata.get("namespace", namespace) != namespace:
        cause = f"the namespace of the object ({metadata['namespace']}) does not match the namespace on the request"
        raise bad_request(f"{cause} ({namespace})")
    for name in SERVERS:
        metadata.pop(name, None)
    if not metadata.get("name"):
        prefix = metadata.get("generateName")
        if not prefix:
            why = Cause("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")
            raise Invalid("", [why], resource.kind, resource.group)
        metadata["name"] = str(prefix)[:LONGEST_PREFIX] + suffix()
    metadata["uid"] = str(uuid.uuid4())
    metadata["creationTimestamp"] = timestamp(now)
    if resource.namespaced:
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)
    if resource.generation:
        metadata["generation"] = 1
    return {**one, "metadata": metadata}


def suffix() -> str:
    """What is added to a generated name."""
    return "".join(secrets.choice(_SUFFIX_LETTERS) for _ in range(5))


def checked(resource: Resource, one: Json, before: Json | None, how: How) -> Json:
    """The object with its defaults, once nothing speaks against it. Raises Invalid with every cause."""
    name = str(one["metadata"].get("name") or "")
    report = Report()
    _metadata(resource, one["metadata"], report)
    _finalizers(one["metadata"], (before or {}).get("metadata") or {}, report)
    if not report.causes:
        resource.check(one, before, report)
        report.overlook_spec(one, before)
    if report.causes:
        raise Invalid(name, report.causes, resource.kind, resource.group)
    how.veto(resource, before, one)
    changed = resource.change_warnings(before, one) if before is not None else ()
    for sentence in (*misplaced(resource, one["metadata"]), *resource.warnings(one), *changed):
        how.warn(sentence)
    return resource.defaults(one)


def misplaced(resource: Resource, metadata: Json, at: str = "metadata") -> Iterator[str]:
    """A sentence for each annotation of ours where nobody reads it: on what is no pod, or among labels."""
    for field in ("annotations", "labels"):
        read = resource.name == "pods" and field == "annotations"
        for name in () if read else sorted(metadata.get(field) or ()):
            if name.startswith(PREFIX) and (resource.name, field, name) != ("serviceaccounts", "annotations", ROLE):
                yield f"{at}.{field}[{name}]: it has no effect there: a cell is chosen by annotations of its pod"


def sized(resource: Resource, one: Json) -> Json:
    """The object, if it is not too large to be kept. Raises Fault."""
    size = len(msgspec.json.encode(one))
    if size > LARGEST:
        name = one["metadata"]["name"]
        fault = bad_request(f'{resource.key} "{name}": it has {size} bytes as JSON, and may have {LARGEST}')
        fault.reason = "RequestEntityTooLarge"
        raise fault
    return one


def _metadata(resource: Resource, metadata: Json, report: Report) -> None:
    if resource.name not in _PATH_NAMES:
        dns_name(metadata.get("name"), "metadata.name", report)
    for field, check in (("labels", labels), ("annotations", texts_by_name)):
        if metadata.get(field) is not None:
            check(metadata[field], f"metadata.{field}", report)
    for index, owner in enumerate(metadata.get("ownerReferences") or ()):
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                report.required(f"metadata.ownerReferences[{index}].{name}", "must not be empty")


def _finalizers(metadata: Json, before: Json, report: Report) -> None:
    given: list[str] = metadata.get("finalizers") or []
    for name in given:
        qualified_name(name, "metadata.finalizers", report)
    if {ORPHAN, FOREGROUND} <= {*given}:
        report.invalid("metadata.finalizers", given, f"finalizer {ORPHAN} and {FOREGROUND} cannot be both set")
    if new := sorted({*given} - {*(before.get("finalizers") or ())}) if before.get("deletionTimestamp") else []:
        why = "no new finalizers can be added if the object is being deleted, found new finalizers"
        report.forbidden("metadata.finalizers", f"{why} {new}")


def carried(resource: Resource, before: Json, wanted: Any, how: How) -> Json:
    """A changed object with what a change may not touch as it was before. Raises Invalid and Fault."""
    name = before["metadata"]["name"]
    if not isinstance(wanted, dict) or not isinstance(cast("Json", wanted).get("metadata"), dict):
        raise bad_request(f"the result of the change is no {resource.kind}")
    after = cast("Json", wanted)
    given: Json = after["metadata"]
    preconditions(resource, before, given.get("uid"), given.get("resourceVersion"))
    causes = [
        Cause(f"metadata.{field}", "FieldValueInvalid", f'Invalid value: "{given[field]}": field is immutable')
        for field in IMMUTABLE
        if given.get(field) not in (None, "", before["metadata"].get(field))
    ]
    if causes:
        raise Invalid(name, causes, resource.kind, resource.group)
    kept = {key: before["metadata"][key] for key in SERVERS if key in before["metadata"]}
    own = {key: value for key, value in given.items() if key not in SERVERS}
    metadata = {**own, **kept, **{key: before["metadata"][key] for key in IMMUTABLE if key in before["metadata"]}}
    return _parted(resource, before, {**after, "metadata": metadata}, how)


def _parted(resource: Resource, before: Json, after: Json, how: How) -> Json:
    """The status changes by its own subresource only, and that changes nothing else."""
    has_status = resource.subresource("status") is not None or resource.name == "pods"
    if how.subresource == "status":
        whole = {**before, "metadata": {**before["metadata"]}}
        return {**whole, "status": after["status"]} if "status" in after else without(whole, "status")
    if has_status:
        after = {**after, "status": before["status"]} if "status" in before else without(after, "status")
    if resource.generation and after.get("spec") != before.get("spec"):
        after["metadata"]["generation"] = int(before["metadata"].get("generation") or 0) + 1
    return after


def without(one: Json, name: str) -> Json:
    """The object without one of its members."""
    return {key: value for key, value in one.items() if key != name}


def preconditions(resource: Resource, before: Json, uid: Any, version: Any) -> None:
    """Raises Fault with reason Conflict where the object is another, or no longer what the client saw."""
    thing = f'{resource.key} "{before["metadata"]["name"]}"'
    if uid and uid != before["metadata"]["uid"]:
        found = before["metadata"]["uid"]
        cause = f"the UID in the precondition ({uid}) does not match the UID in record ({found}); it is another object"
        raise Fault(Kind.PRECONDITION, thing, f"Operation cannot be fulfilled on {thing}: {cause}", reason="Conflict")
    if version and version != before["metadata"].get("resourceVersion"):
        cause = "the object has been modified; please apply your changes to the latest version and try again"
        raise Fault(Kind.PRECONDITION, thing, f"Operation cannot be fulfilled on {thing}: {cause}", reason="Conflict")


def same(before: Json, after: Json) -> bool:
    """Whether nothing but the bookkeeping differs."""
    return _bare(before) == _bare(after)


def _bare(one: Json) -> Json:
    metadata = {key: value for key, value in one["metadata"].items() if key not in {"managedFields", "resourceVersion"}}
    return {**one, "metadata": metadata}
