"""JSON Schemas as servers that hold a model to them want them: every object closed, nothing they do not know.

`closed` narrows: what fits the result fits the schema it was made from, but for limits (a length, a range, a
pattern) that the servers refuse and that are looked at when the answer is here. Where narrowing would change what
is meant (an object that is a map, a schema that contains itself), `closes` says so and the caller finds another
way.

Knows no wire. Sources: LLM_WIRE.md C5; platform.claude.com/docs (structured outputs, JSON Schema limitations);
developers.openai.com/api/docs/guides/structured-outputs (supported schemas).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

# Refused with a 400; they narrow an answer further and say nothing of its shape.
_LIMITS = frozenset(
    (
        *(
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "exclusiveMaximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "pattern",
        ),
        *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties", "format"),
        *("default", "examples", "title", "$schema", "$id", "$comment"),
    )
)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "$defs", "definitions")
_BEYOND = (
    *("patternProperties", "propertyNames", "unevaluatedProperties", "unevaluatedItems", "contains"),
    *("not", "if", "then", "else", "dependentSchemas", "dependentRequired"),
)

MAX_DEPTH = 32


def is_object(schema: Schema) -> bool:
    """An answer of it is an object: what tools take, and most servers as an answer."""
    return schema.get("type") == "object"


def closes(schema: Schema) -> bool:
    """`closed` means the same but for limits."""
    return not any(_open(part) for part in _walk(schema)) and not _circular(schema)


def is_strict(schema: Schema) -> bool:
    """It fits OpenAI's strict rules as it stands: objects closed and all members required, no word of others."""
    if not is_object(schema) or not closes(schema):
        return False
    return all(_is_strict_part(part) for part in _walk(schema))


def _is_strict_part(part: Schema) -> bool:
    if any(word in part for word in ("oneOf", "allOf", "prefixItems", "default", "minProperties", "maxProperties")):
        return False
    if not _is_an_object(part):
        return True
    members = part.get("properties")
    required = part.get("required")
    return (
        part.get("additionalProperties") is False
        and isinstance(members, dict)
        and isinstance(required, list)
        and set(map(str, required)) == set(members)
    )


def closed(schema: Schema) -> Schema:
    """Every object closed, and without limits."""
    made: Schema = {}
    for word, value in schema.items():
        if word in _LIMITS:
            continue
        if word in _MAPS and isinstance(value, dict):
            made[word] = {
                name: closed(inner) if isinstance(inner, dict) else inner for name, inner in value.items()
            }
        elif word in _LISTS and isinstance(value, list):
            made[word] = [closed(inner) if isinstance(inner, dict) else inner for inner in value]
        elif word == "items" and isinstance(value, dict):
            made[word] = closed(value)
        else:
            made[word] = value
    if _is_an_object(schema):
        made.setdefault("additionalProperties", False)
    return made


def _is_an_object(part: Schema) -> bool:
    type_ = part.get("type")
    return type_ == "object" or (isinstance(type_, list) and "object" in type_) or "properties" in part


def _open(part: Schema) -> bool:
    if _is_an_object(part) and (
        part.get("additionalProperties") not in (None, False) or not part.get("properties")
    ):
        return True  # a map: closed, it could hold nothing
    reference = part.get("$ref")
    if reference is not None and not (isinstance(reference, str) and reference.startswith("#/")):
        return True
    return any(word in part for word in _BEYOND)


def _walk(schema: Schema, depth: int = 0) -> Iterator[Schema]:
    if depth > MAX_DEPTH:
        return
    yield schema
    for word in _MAPS:
        inner = schema.get(word)
        if isinstance(inner, dict):
            for value in inner.values():
                if isinstance(value, dict):
                    yield from _walk(value, depth + 1)
    for word in (*_LISTS, "items"):
        inner = schema.get(word)
        for value in inner if isinstance(inner, list) else [inner]:
            if isinstance(value, dict):
                yield from _walk(value, depth + 1)


def _circular(schema: Schema) -> bool:
    """It contains itself, by way of its references; or they are too many to tell."""
    definitions = {
        f"#/{word}/{name}": inner
        for word in ("$defs", "definitions")
        for name, inner in (schema.get(word) or {}).items()
        if isinstance(inner, dict)
    }
    leads = {name: {part["$ref"] for part in _walk(inner) if "$ref" in part} for name, inner in definitions.items()}
    if any("$ref" in part and part["$ref"] not in definitions for part in _walk(schema)):
        return True  # "#" itself, or nowhere
    while leads:  # what leads nowhere is no circle; what is left when all those are gone is one
        ends = [name for name, to in leads.items() if not to & leads.keys()]
        if not ends:
            return True
        for name in ends:
            del leads[name]
    return False
