"""A small kit for checking manifests field by field: a table of checks per object, and causes that name the field.

Nothing is ever ignored: a field without a check is an error, and one that Kubernetes knows but we cannot honour yet
is refused with the reason why. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, cast

import msgspec

from cellwire.faults import Fault, Kind
from controller.choice.quantity import quantity as amount_of

Json = dict[str, Any]

# Each for `fullmatch`: "$" would let a name end in a new line.
_LABEL_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DNS_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
# Whoever sends more mistakes than anybody reads is told of the first ones.
MOST_CAUSES = 100


class Cause(msgspec.Struct, frozen=True):
    """One thing wrong, as in a Kubernetes Status: the field's path, a CamelCase reason and a message."""

    field: str
    reason: str
    message: str


def copied(one: Json) -> Json:
    """A copy of an object of the API that may be changed in place: in a tenth of the time of copy.deepcopy."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(one))


def bad_request(message: str) -> Fault:
    """A request that makes no sense."""
    return Fault(Kind.INVALID, "", message, reason="BadRequest")


class Invalid(Fault):
    """A manifest that cannot be accepted, with a cause per field."""

    def __init__(self, name: str, causes: Collection[Cause], kind: str = "Pod", group: str = "") -> None:
        self.name = name
        self.kind_name = kind
        self.group = group
        self.causes = tuple(causes)
        listed = [f"{cause.field}: {cause.message}" for cause in self.causes]
        super().__init__(Kind.INVALID, f'{kind} "{name}"', listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]")


class Report:
    """Collects causes while checks walk a manifest."""

    def __init__(self) -> None:
        self.causes: list[Cause] = []

    def add(self, cause: Cause) -> None:
        """One more thing is wrong."""
        if len(self.causes) < MOST_CAUSES:
            self.causes.append(cause)

    def overlook_spec(self, one: Json, before: Json | None) -> None:
        """A spec that stays as it was is accepted still, whatever is wrong with it: checks may be stricter by now, and
        its object must be labelled and deleted all the same.
        """
        if before is not None and one.get("spec") == before.get("spec"):
            self.causes = [cause for cause in self.causes if not cause.field.startswith("spec")]

    def invalid(self, field: str, value: object, why: str) -> None:
        """The value is not a possible one."""
        self.add(Cause(field, "FieldValueInvalid", f"Invalid value: {_shown(value)}: {why}"))

    def required(self, field: str, why: str = "") -> None:
        """The field must be there."""
        self.add(Cause(field, "FieldValueRequired", f"Required value{': ' + why if why else ''}"))

    def unsupported(self, field: str, value: object, supported: Collection[str]) -> None:
        """The value is not among the known ones."""
        listed = ", ".join(json.dumps(one) for one in supported)
        message = f"Unsupported value: {_shown(value)}: supported values: {listed}"
        self.add(Cause(field, "FieldValueNotSupported", message))

    def forbidden(self, field: str, why: str) -> None:
        """The field may not be set so."""
        self.add(Cause(field, "FieldValueForbidden", f"Forbidden: {why}"))

    def duplicate(self, field: str, value: object) -> None:
        """The value is taken."""
        self.add(Cause(field, "FieldValueDuplicate", f"Duplicate value: {_shown(value)}"))


Check = Callable[[object, str, Report], None]


def _shown(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 200 else text[:197] + "..."


def record(checks: Mapping[str, Check], *, required: Collection[str] = ()) -> Check:
    """An object with these fields and no others; null counts as absent."""

    def check(value: object, field: str, report: Report) -> None:
        if not isinstance(value, dict):
            report.invalid(field, value, "must be an object")
            return
        members = cast("Json", value)
        for name, member in members.items():
            path = f"{field}.{name}" if field else str(name)
            if name not in checks:
                report.forbidden(path, "unknown field")
            elif member is not None:
                checks[name](member, path, report)
        for name in required:
            if members.get(name) in (None, "", []):
                report.required(f"{field}.{name}" if field else name)

    return check


def items(one: Check, *, key: str = "") -> Check:
    """A list; with `key`, a list of objects that differ in that member."""

    def check(value: object, field: str, report: Report) -> None:
        if not isinstance(value, list):
            report.invalid(field, value, "must be a list")
            return
        seen: set[object] = set()
        for index, member in enumerate(cast("list[Any]", value)):
            path = f"{field}[{index}]"
            one(member, path, report)
            if key and isinstance(member, dict):
                name = cast("Json", member).get(key)
                if isinstance(name, (str, int)) and name in seen:
                    report.duplicate(f"{path}.{key}", name)
                elif isinstance(name, (str, int)):
                    seen.add(name)

    return check


def text(value: object, field: str, report: Report) -> None:
    """Any text."""
    if not isinstance(value, str):
        report.invalid(field, value, "must be a string")
    elif "\0" in value:
        report.invalid(field, value, "must not contain a zero byte")


def boolean(value: object, field: str, report: Report) -> None:
    """True or false."""
    if not isinstance(value, bool):
        report.invalid(field, value, "must be a boolean")


def integer(lowest: int, highest: int = 2**63 - 1) -> Check:
    """A whole number within bounds."""

    def check(value: object, field: str, report: Report) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            report.invalid(field, value, "must be an integer")
        elif not lowest <= value <= highest:
            report.invalid(field, value, f"must be between {lowest} and {highest}, inclusive")

    return check


def just_one(check: Check, *names: str) -> Check:
    """An object of which exactly one of these fields is set."""

    def checked(value: object, field: str, report: Report) -> None:
        check(value, field, report)
        if isinstance(value, dict):
            given = [name for name in names if cast("Json", value).get(name) is not None]
            if not given:
                report.invalid(field, "", f"must specify one of: {', '.join(f'`{name}`' for name in names)}")
            elif len(given) > 1:
                report.invalid(field, "", "may not have more than one field specified at a time")

    return checked


def one_of(*supported: str) -> Check:
    """One of these words."""

    def check(value: object, field: str, report: Report) -> None:
        if value not in supported:
            report.unsupported(field, value, supported)

    return check


def dns_label(value: object, field: str, report: Report) -> None:
    """A name of lower case letters, digits and dashes, of at most 63."""
    if not isinstance(value, str) or not _DNS_LABEL.fullmatch(value):
        report.invalid(
            field, value, "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-'"
        )


def dns_name(value: object, field: str, report: Report) -> None:
    """A name as dns_label, with dots, of at most 253."""
    if not isinstance(value, str) or not _DNS_NAME.fullmatch(value):
        why = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'"
        report.invalid(field, value, why)


def absolute(value: object, field: str, report: Report) -> None:
    """An absolute path that does not climb."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        report.invalid(field, value, "must be an absolute path")
    elif ".." in value.split("/"):
        report.invalid(field, value, "must not contain '..'")


def quantity(value: object, field: str, report: Report) -> None:
    """An amount of something, not negative."""
    try:
        amount_of(value)
    except Fault as fault:
        report.invalid(field, value, f"{fault.cause}; {fault.mend}" if fault.mend else fault.cause)


def texts_by_name(value: object, field: str, report: Report) -> None:
    """An object of texts under qualified names, as annotations are."""
    if not isinstance(value, dict):
        report.invalid(field, value, "must be an object of strings")
        return
    for name, member in cast("Json", value).items():
        qualified_name(name, field, report)
        if not isinstance(member, str):
            report.invalid(f"{field}.{name}", member, "must be a string")


def qualified_name(value: object, field: str, report: Report) -> None:
    """A name that may have a domain before it, as those of annotations and finalizers."""
    prefix, _, rest = str(value).rpartition("/")
    if not _LABEL_NAME.fullmatch(rest) or (prefix and not _DNS_NAME.fullmatch(prefix)):
        report.invalid(field, value, "name part must consist of alphanumeric characters, '-', '_' or '.'")


def labels(value: object, field: str, report: Report) -> None:
    """As texts_by_name, with values that may be selected by."""
    texts_by_name(value, field, report)
    if isinstance(value, dict):
        for member in cast("Json", value).values():
            if isinstance(member, str) and member and not _LABEL_NAME.fullmatch(member):
                report.invalid(field, member, "a valid label must be an empty string or alphanumeric, '-', '_' or '.'")


def anything(value: object, field: str, report: Report) -> None:
    """What the server sets itself, or what changes nothing here."""
    del value, field, report


def refused(why: str = "not supported yet") -> Check:
    """A field that Kubernetes knows and that cannot be honoured here: refused unless empty."""

    def check(value: object, field: str, report: Report) -> None:
        if value not in (None, "", [], {}, False, 0):
            report.forbidden(field, f"chinampa cannot honour this field: {why}")

    return check


def only(*accepted: object, why: str = "not supported yet") -> Check:
    """A field of which only some values can be honoured here."""

    def check(value: object, field: str, report: Report) -> None:
        if not any(value == one and type(value) is type(one) for one in accepted):
            listed = ", ".join(json.dumps(one) for one in accepted)
            report.forbidden(field, f"chinampa cannot honour {_shown(value)}: {why}; it can honour {listed}")

    return check
