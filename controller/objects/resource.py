"""A kind of object, and what is known of it: one row of the table of kinds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controller.objects.fields import Json, Report
from controller.objects.schema.base import Part
from controller.objects.shapes import ValueShape, shape_of

READ = ("get", "list", "watch")
EVERY = ("create", "delete", "deletecollection", *READ, "patch", "update")
NAMED = ("metadata.name", "metadata.namespace")


@dataclass(frozen=True, slots=True)
class Subresource:
    """A part of an object with a path of its own; `version` is the group and version of its kind, if another one."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = "v1"


STATUS = ("get", "patch", "update")


def as_given(one: Json) -> Json:
    """Of this kind nothing is filled in."""
    return one


def unchecked(_one: Json, _before: Json | None, _report: Report) -> None:
    """Of this kind nothing is checked beside its types."""


def nothing(_one: Json) -> Sequence[str]:
    """Of this kind everything that is accepted has its effect."""
    return ()


def changed_in_full(_before: Json, _after: Json) -> Sequence[str]:
    """Of this kind every change that is accepted has its effect."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A kind of object: how it is called, of which type it is, and what is its own in writing it.

    `defaults` fills in what is left out; `check` reports what may not be, given what was there before; `warnings` says
    in sentences what is accepted without effect, `change_warnings` what of a change is. `generation` counts changes of
    what is wanted, for kinds with a controller. `sealed` kinds are encrypted at rest.
    """

    name: str
    kind: str
    type: type[Part]
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = EVERY
    subresources: tuple[Subresource, ...] = ()
    selectable: tuple[str, ...] = NAMED
    defaults: Callable[[Json], Json] = as_given
    check: Callable[[Json, Json | None, Report], None] = unchecked
    warnings: Callable[[Json], Sequence[str]] = nothing
    change_warnings: Callable[[Json, Json], Sequence[str]] = changed_in_full
    generation: bool = False
    sealed: bool = False

    @property
    def key(self) -> str:
        """The kind's name with its group, as `deployments.apps`."""
        return f"{self.name}.{self.group}" if self.group else self.name

    @property
    def api_version(self) -> str:
        """As objects write it: `v1`, `apps/v1`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Where its paths begin."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def shape(self) -> ValueShape:
        """The shape of its objects."""
        return shape_of(self.type)

    def subresource(self, name: str) -> Subresource | None:
        """One of its subresources."""
        return next((one for one in self.subresources if one.name == name), None)
