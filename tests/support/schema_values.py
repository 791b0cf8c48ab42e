"""Values that a JSON schema allows, drawn by Hypothesis: what a stranger of another make may send."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import strategies as st

Schema = Mapping[str, Any]

MOMENTS = [
    "2026-11-22T08:00:00Z",
    "2026-11-22t08:00:00.123456789z",
    "2026-11-22T08:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
]
AMOUNTS = ["0", "1", "-5", "+.5", "0.5", "0012", "9" * 400, "0." + "0" * 320 + "1", "-" + "9" * 40]
# Without NUL, which no database here can keep and a message is refused for.
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=12) | st.sampled_from(
    [
        "",
        "COMPUTE",
        "start",
        "end",
        "GPU-min",
        "GBP",
        "INR",
        "RAG_QUERY",
        "workload-requirements",
        "x" * 5000,
        "é\u202e",
    ]
)
FORMATS: dict[str, st.SearchStrategy[Any]] = {
    "date-time": st.sampled_from(MOMENTS),
    "duration": st.sampled_from(["PT30S", "P1W2D", "P0Y0M1D", "PT99999999H"]),
    "uuid": st.uuids().map(str),
    "uri": st.sampled_from(["https://other.example/a", "http://127.0.0.1:9/b"]),
}
_DEEPEST = 7
_MOST_OPTIONAL = 4


def filled(ours: Any, theirs: Any) -> Any:
    """Our document with what theirs has beside."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return {name: filled(ours.get(name, ...), theirs.get(name, ...)) for name in {**theirs, **ours}}
    if isinstance(ours, list) and isinstance(theirs, list):
        return [filled(one, theirs[min(place, len(theirs) - 1)] if theirs else ...) for place, one in enumerate(ours)]
    return theirs if ours is ... else ours


def values(schema: Schema, named: Mapping[str, Schema], depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a schema; `named` has those that it refers to, by their names in `schemas` or `$defs`."""
    # What Hypothesis works out about a strategy takes longer than to draw from it, so each is made once.
    key = (id(schema), id(named), depth)
    if key not in _made:
        _made[key] = (_values(schema, named, depth), schema, named)
    return _made[key][0]


_made: dict[tuple[int, int, int], tuple[st.SearchStrategy[Any], Schema, Mapping[str, Schema]]] = {}
"""With what they were made of, so that nothing else comes by its identity."""


def _values(schema: Schema, named: Mapping[str, Schema], depth: int) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return values(_referred(schema["$ref"], named), named, depth)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return st.one_of([values(option, named, depth) for option in schema[choice]])
    if "allOf" in schema:
        return values(schema["allOf"][0], named, depth)
    kind = schema.get("type", "object" if "properties" in schema else None)
    if kind == "object":
        return _objects(schema, named, depth)
    if kind == "array":
        items = values(schema.get("items", {}), named, depth + 1)
        fewest = schema.get("minItems", 0)
        return st.lists(items, min_size=fewest, max_size=max(fewest, 0 if depth > _DEEPEST else 2))
    if kind == "string":
        return _texts(schema)
    if kind == "integer":
        return st.integers(schema.get("minimum", -(2**70)), schema.get("maximum", 2**70))
    if kind == "number":
        return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False)
    if kind == "boolean":
        return st.booleans()
    return st.none() | st.booleans() | st.integers() | TEXTS


def _referred(reference: str, named: Mapping[str, Schema]) -> Schema:
    """What `#/components/schemas/Item/properties/id` stands for, or `#/$defs/Item`."""
    _, _, path = reference.partition("/schemas/" if "/schemas/" in reference else "/$defs/")
    found: Any = named
    for part in path.split("/"):
        found = found[part]
    schema: Schema = found
    return schema


def _objects(schema: Schema, named: Mapping[str, Schema], depth: int) -> st.SearchStrategy[Any]:
    fields: Mapping[str, Schema] = schema.get("properties", {})
    required = [name for name in fields if name in schema.get("required", ())]
    optional = [] if depth > _DEEPEST else sorted(set(fields) - set(required))

    @st.composite
    def drawn(draw: st.DrawFn) -> dict[str, Any]:
        some = draw(st.lists(st.sampled_from(optional), unique=True, max_size=_MOST_OPTIONAL)) if optional else []
        return {name: draw(values(fields[name], named, depth + 1)) for name in (*required, *some)}

    return drawn()


def _texts(schema: Schema) -> st.SearchStrategy[str]:
    if schema.get("format") in FORMATS:
        return FORMATS[schema["format"]]
    if "pattern" in schema:
        pattern = schema["pattern"]
        if "[.]" in pattern:  # Beckn's decimals
            return st.sampled_from(AMOUNTS)
        return st.from_regex(pattern, alphabet=st.characters(max_codepoint=126, min_codepoint=32))
    return TEXTS.filter(lambda text: len(text) >= schema.get("minLength", 0))


_HOSTILE: tuple[Any, ...] = (
    *AMOUNTS,
    *MOMENTS,
    "",
    "\x00",
    "\x1b[2J\nforged",
    "x" * 100_000,
    "\ud800",
    "DC-001:gpu-slot:99991231T2330Z",
    "DC-001:gpu-slot:00010101T0000Z",
    "order:x",
    "NaN",
    "1e999",
    "P99999999999D",
    None,
    True,
    -1,
    10**400,
    2.5e-320,
    [],
    {},
    [[]] * 100,
)


def _places(node: Any, before: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*before, key)
        yield from _places(child, (*before, key))


def _nested(depth: int) -> Any:
    inner: Any = 1
    for _ in range(depth):
        inner = [inner]
    return inner


@st.composite
def spoiled(draw: st.DrawFn, document: Any) -> Any:
    """A document with hostile values in up to four places."""
    document = copy.deepcopy(document)
    for place in draw(st.lists(st.sampled_from(sorted(_places(document), key=str)), min_size=1, max_size=4)):
        change = draw(st.sampled_from(_HOSTILE) | st.integers(1, 900).map(_nested))
        node: Any = document
        try:
            for key in place[:-1]:
                node = node[key]
            node[place[-1]] = change
        except (LookupError, TypeError):
            continue  # an earlier change took the place away
    return document
