"""Answers as JSON, checked against a small part of JSON Schema."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from vlad.system.text import shown

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "number": (int, float),
    "integer": int,
    "array": list,
    "object": dict,
}


def parse(text: str, schema: Mapping) -> tuple[dict[str, Any] | None, str]:
    """The first JSON object in a text, and "" ; or None, and why it is no answer."""
    start = text.find("{")
    if start < 0:
        return None, "it holds no JSON object"
    try:
        data, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return None, "its JSON is malformed or cut off"
    fault = check(data, schema, "the answer")
    return (None, fault) if fault else (data, "")


def check(value: Any, schema: Mapping, where: str) -> str:
    """What is wrong with a value by a schema, or "".

    Of JSON Schema it reads `type`, `enum`, `properties`, `required`, `items`, `minItems`,
    `maxItems`, `minimum`, `maximum` and `maxLength`; other keys are ignored.
    """
    kind = schema.get("type")
    if kind is not None and not _is(value, kind):
        return f"{where} is {shown(json.dumps(value, default=str))}, not of type {kind}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{where} is {shown(json.dumps(value))}, not one of {', '.join(schema['enum'])}"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value, schema, where)
    if isinstance(value, str) and len(value) > schema.get("maxLength", math.inf):
        return f"{where} has {len(value)} characters, over {schema['maxLength']}"
    if isinstance(value, list):
        return _list(value, schema, where)
    return _object(value, schema, where) if isinstance(value, dict) else ""


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, TYPES[kind])


def _number(value: float, schema: Mapping, where: str) -> str:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    # a NaN is within no bounds
    return "" if low <= value <= high else f"{where} is {value}, not from {low} to {high}"


def _list(value: list, schema: Mapping, where: str) -> str:
    low, high = schema.get("minItems", 0), schema.get("maxItems", math.inf)
    if not low <= len(value) <= high:
        return f"{where} has {len(value)} items, not from {low} to {high}"
    faults = (check(item, schema.get("items", {}), f"an item of {where}") for item in value)
    return next(filter(None, faults), "")


def _object(value: dict, schema: Mapping, where: str) -> str:
    known = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            return f"{where} has no {key}"
    faults = (check(value[key], part, key) for key, part in known.items() if key in value)
    return next(filter(None, faults), "")
