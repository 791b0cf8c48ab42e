"""The JSON schemas of tools, as short as they can be said: an agent reads all of them before it asks anything.

What is left out is what no reader needs: titles, what holds for all of them (INSTRUCTIONS says it), and a detour by
`$defs` to what is used once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]
NULL = {"type": "null"}


def schema_of_arguments(model: type[BaseModel]) -> Schema:
    """What a tool takes. That an argument which may be left out may also be null is not said: not all clients can
    read it, and none needs it."""
    return _short(model.model_json_schema(mode="validation"), _argument)


def schema_of_answer(model: type[BaseModel]) -> Schema:
    """What a tool gives: every member is always there, and times are RFC 3339."""
    return _short(model.model_json_schema(mode="serialization"), _told)


def _short(schema: Schema, shorten: Callable[[Schema], Schema]) -> Schema:
    short = _each(schema, lambda node: _with_null_among_types(shorten(_without_title(node))))
    short.pop("description", None)  # said once, by the tool
    known = short.pop("$defs", {})
    for definition in known.values():
        definition.pop("description", None)  # of the class, for who reads the code
    used = Counter(_used_in([short, known]))
    once = {name for name, times in used.items() if times == 1}

    def in_place(node: Schema) -> Schema:
        name = _referred_to(node)
        if name not in once:
            return _with_null_among_types(node)
        rest = {member: value for member, value in node.items() if member != "$ref"}
        return _with_null_among_types(_each(known[name], in_place) | rest)

    kept = {name: _each(node, in_place) for name, node in known.items() if name not in once}
    made = _each(short, in_place)
    return made | ({"$defs": kept} if kept else {})


def _each(node: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """A schema with each schema in it changed, from the innermost out."""
    changed: Schema = {}
    for name, value in node.items():
        if name in {"properties", "$defs"}:
            changed[name] = {each: _each(inner, change) for each, inner in value.items()}
        elif isinstance(value, dict) and name in {"items", "additionalProperties"}:
            changed[name] = _each(value, change)
        elif name in {"anyOf", "allOf", "oneOf"}:
            changed[name] = [_each(inner, change) for inner in value]
        else:
            changed[name] = value
    return change(changed)


def _without_title(node: Schema) -> Schema:
    return {name: value for name, value in node.items() if name not in {"title", "propertyNames"}}


def _argument(node: Schema) -> Schema:
    if node.get("default", ...) is None:
        kinds = [kind for kind in node.get("anyOf", ()) if kind != NULL]
        only: Schema = kinds[0] if len(kinds) == 1 else {}
        left_out = {"default", "anyOf"} if only else {"default"}
        node = only | {name: value for name, value in node.items() if name not in left_out}
    whole = {
        name: int(value)
        for name in ("minimum", "maximum")
        if isinstance(value := node.get(name), float) and value.is_integer()
    }
    return node | whole


def _told(node: Schema) -> Schema:
    left_out = {"required", "default"} | ({"format"} if node.get("format") == "date-time" else set())
    if node.get("additionalProperties") is True:
        left_out = left_out | {"additionalProperties"}
    return {name: value for name, value in node.items() if name not in left_out}


def _with_null_among_types(node: Schema) -> Schema:
    """`{"type": [kind, "null"]}` for two alternatives of which one is null, where the other has one type."""
    kinds = node.get("anyOf", ())
    others = [kind for kind in kinds if kind != NULL]
    if len(kinds) != 2 or len(others) != 1 or not isinstance(others[0].get("type"), str) or "enum" in others[0]:
        return node
    only: Schema = others[0]
    rest = {name: value for name, value in node.items() if name != "anyOf"}
    return only | rest | {"type": [only["type"], "null"]}


def _referred_to(node: Mapping[str, Any]) -> str:
    return str(node.get("$ref", "")).rpartition("/")[2]


def _used_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if name := _referred_to(node):
            yield name
        node = list(node.values())
    if isinstance(node, list):
        for each in node:
            yield from _used_in(each)
