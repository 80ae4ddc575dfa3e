"""EC2's query protocol from the server's side: requests to values and values to answers, by botocore's own model.

botocore describes every shape; moto has the two directions that botocore lacks.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.sax.saxutils import escape

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
from moto.core.parse import EC2QueryParser
from moto.core.serialize import EC2Serializer
from moto.core.utils import get_service_model
from werkzeug.datastructures import MultiDict

VERSION = "2016-11-15"


@functools.cache
def model() -> Any:
    """botocore's model of EC2."""
    return botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("ec2", "service-2"), "ec2")


def parse_request(action: str, body: str) -> dict[str, Any]:
    """The parameters of a call, with the names that boto gives them."""
    values = MultiDict(parse_qsl(body, keep_blank_values=True))
    return EC2QueryParser(model().operation_model(action)).parse({"values": values})  # type: ignore[typeddict-item]


def form(action: str, parameters: Mapping[str, Any]) -> str:
    """The body of a call; what the model does not know of `parameters` is left out."""
    operation = model().operation_model(action)
    known = _known(operation.input_shape, dict(parameters))
    made: dict[str, Any] = botocore.serialize.create_serializer("ec2").serialize_to_request(known, operation)
    return urlencode(made["body"])


def parse_answer(action: str, status: int, body: bytes) -> dict[str, Any]:
    """An answer of EC2's, as boto would return it."""
    shape = model().operation_model(action).output_shape
    parser: Any = botocore.parsers.create_parser("ec2")
    return parser.parse({"status_code": status, "headers": {}, "body": body}, shape)


def answer(action: str, result: Mapping[str, Any]) -> str:
    """The XML of a successful call."""
    return str(EC2Serializer(get_service_model("ec2").operation_model(action)).serialize(dict(result))["body"])


def error(code: str, message: str) -> str:
    """The XML of an error."""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Response><Errors><Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message></Error></Errors><RequestID>injected</RequestID></Response>"
    )


def error_code(body: bytes) -> str:
    """The code in an error answer, of EC2 (XML) or of a JSON service."""
    found = re.search(rb"<Code>([^<]+)</Code>", body) or re.search(rb'"__type"\s*:\s*"(?:[^"#]*#)?([^"]+)"', body)
    return found[1].decode() if found else "error"


def _known(shape: Any, value: Any) -> Any:
    if shape.type_name == "structure":
        return {name: _known(shape.members[name], part) for name, part in value.items() if name in shape.members}
    if shape.type_name == "list":
        return [_known(shape.member, part) for part in value]
    return value
