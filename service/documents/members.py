"""Members of JSON answers, each with its description; required unless said otherwise.

The schemas made of them describe what the API answers; nothing is read with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from marshmallow import EXCLUDE, Schema, fields


class Members(Schema):
    """An object with the members of its subclass; clients should expect more."""

    class Meta:
        """Read by apispec: other members are not forbidden."""

        unknown = EXCLUDE


def text(description: str, **options: Any) -> fields.String:
    """A string."""
    return fields.String(**_described(description, options))


def choice(description: str, among: Sequence[str]) -> fields.String:
    """One of several strings."""
    return fields.String(**_described(description, {}, enum=list(among)))


def number(description: str, **options: Any) -> fields.Float:
    """A number."""
    return fields.Float(**_described(description, options))


def count(description: str, minimum: int = 0, **options: Any) -> fields.Integer:
    """A whole number that is *minimum* or more."""
    return fields.Integer(**_described(description, options, minimum=minimum))


def texts(description: str, **options: Any) -> fields.List[Any]:
    """A list of strings."""
    return fields.List(fields.String(), **_described(description, options))


def by_label(description: str, **options: Any) -> fields.Dict:
    """One probability a label."""
    value = fields.Float(metadata={"minimum": 0, "maximum": 1})
    return fields.Dict(values=value, **_described(description, options))


def several(schema: Any, **options: Any) -> fields.List[Any]:
    """A list of objects."""
    return fields.List(fields.Nested(schema), required=True, **options)


def _described(
    description: str, options: dict[str, Any], **limits: Any
) -> dict[str, Any]:
    metadata = {"description": description, **limits}
    return {"required": True, "metadata": metadata, **options}
