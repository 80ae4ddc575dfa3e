"""Label and field selectors, as kubectl writes them. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from controller.objects.fields import Json, bad_request

Matches = Callable[[Json], bool]

# Whoever lists or watches has every object matched with each of them.
MOST_TERMS = 100
# No two parts of these can take the same characters: what does not match costs no more than what does.
_TERM = re.compile(r"([A-Za-z0-9][A-Za-z0-9._/-]*)\s*(==|=|!=)\s*([A-Za-z0-9._-]*)")
_SET = re.compile(r"([A-Za-z0-9][A-Za-z0-9._/-]*)\s+(in|notin)\s*\(([^()]*)\)")
_EXISTS = re.compile(r"(!?)\s*([A-Za-z0-9][A-Za-z0-9._/-]*)")
# Commas within parentheses part no terms.
_BETWEEN_COMMAS = re.compile(r"(?:\([^()]*\)?|[^,(])+")


def labels(text: str) -> Matches:
    """What a labelSelector matches. Raises Fault for one that cannot be read."""
    terms = [_label_term(term) for part in _BETWEEN_COMMAS.findall(text) if (term := part.strip())]
    _few(terms)
    return lambda one: all(term(one["metadata"].get("labels") or {}) for term in terms)


def _label_term(term: str) -> Callable[[Json], bool]:
    if found := _TERM.fullmatch(term):
        name, operator, value = found.groups()
        if operator == "!=":
            return lambda given: given.get(name) != value
        return lambda given: given.get(name) == value
    if found := _SET.fullmatch(term):
        name, operator, listed = found.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "notin":
            return lambda given: given.get(name) not in values
        return lambda given: given.get(name) in values
    if found := _EXISTS.fullmatch(term):
        absent, name = found.groups()
        return lambda given: (name in given) != bool(absent)
    raise bad_request(f'unable to parse requirement: "{term[:300]}" is no label selector')


def fields(text: str, supported: Sequence[str]) -> Matches:
    """What a fieldSelector matches, of the fields that a kind can be selected by. Raises Fault."""
    terms = [_field_term(term, supported) for term in text.split(",") if term.strip()]
    _few(terms)
    return lambda one: all(term(one) for term in terms)


def _few(terms: Sequence[Any]) -> None:
    if len(terms) > MOST_TERMS:
        raise bad_request(f"the selector has {len(terms)} terms, and may have {MOST_TERMS}")


def _field_term(term: str, supported: Sequence[str]) -> Matches:
    name, operator, value = term.partition("!=")
    wanted = False
    if not operator:
        name, operator, value = term.partition("=")
        value = value.removeprefix("=")
        wanted = True
    name = name.strip()
    if not operator:
        raise bad_request(f'invalid selector: "{term}"; can\'t understand it')
    if name not in supported:
        raise bad_request(f'field label not supported: "{name}"; supported are {", ".join(supported)}')
    return lambda one: (_at(one, name) == value.strip()) == wanted


def _at(one: Json, path: str) -> str:
    value: Any = one
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, dict):
        value = value.get("component")  # `source` of an event means its component
    return "" if value is None else str(value)


def matches(selector: Json | None, given: Json | None) -> bool:
    """Whether a LabelSelector of the API matches labels; an empty one matches all, an absent one nothing."""
    if selector is None:
        return False
    labelled: Json = given or {}
    if any(labelled.get(name) != value for name, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_expressed(one, labelled) for one in selector.get("matchExpressions") or ())


def _expressed(expression: Json, labelled: Json) -> bool:
    name, values = expression.get("key", ""), expression.get("values") or ()
    match expression.get("operator"):
        case "In":
            return labelled.get(name) in values
        case "NotIn":
            return labelled.get(name) not in values
        case "Exists":
            return name in labelled
        case _:
            return name not in labelled
