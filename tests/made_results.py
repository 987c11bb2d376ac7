"""Results that tests make up: only the fields that matter are given, the others are filled in blank."""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel

from bitparity.results.schema import Results

Model = TypeVar("Model", bound=BaseModel)
BLANKS: Mapping[Any, Any] = {str: "", int: 0, float: 0.0, bool: False, dict: {}, list: [], tuple: (0.0, 0.0)}


def results(document: Mapping[str, Any]) -> Results:
    """A results.json as the reports read it."""
    return typed(Results, document)


def typed(model: type[Model], document: Mapping[str, Any]) -> Model:
    """A part of results.json."""
    return model.model_validate(_completed(model, document))


def _completed(kind: Any, value: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return value if value is None else _completed(inner[0], value)
    if origin is dict:
        return {key: _completed(inner[1], each) for key, each in value.items()}
    if origin is list:
        return [_completed(inner[0], each) for each in value]
    if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
        return value
    made = dict(value)
    for name, field in kind.model_fields.items():
        key = field.alias or name
        if key in made:
            made[key] = _completed(field.annotation, made[key])
        elif field.is_required():
            made[key] = _blank(field.annotation)
    return made


def _blank(kind: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if NoneType in inner:
        return None
    if origin is Literal:
        return inner[0]
    if origin in (Union, UnionType):
        return _blank(inner[0])
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return _completed(kind, {})
    return BLANKS[origin or kind]
