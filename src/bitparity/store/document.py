"""Base classes of stored JSON documents: typed fields, and the same keys in the same order when written back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    JsonValue,
    ModelWrapValidatorHandler,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

JsonObject = dict[str, JsonValue]
"""A JSON object whose keys another program, or another room, decides."""


class Document(BaseModel):
    """A JSON object of a run directory as a typed record.

    Keys that this version does not know are kept. A dump has the keys in the order in which they were read; a field
    that was neither read nor given stays absent until it has a value, so that files of earlier versions keep their
    bytes.
    """

    model_config = ConfigDict(extra="allow")
    _order: tuple[str, ...] = PrivateAttr(default=())

    @model_validator(mode="wrap")
    @classmethod
    def _note_order(cls, value: object, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(value)
        if isinstance(value, Mapping):
            made._order = tuple(value)
        return made

    @model_serializer(mode="wrap")
    def _in_order(self, handler: SerializerFunctionWrapHandler) -> JsonObject:
        values = handler(self)
        # by value too: a list that was filled in place was never set
        defaults = {
            name: field.get_default(call_default_factory=True) for name, field in type(self).model_fields.items()
        }
        kept = self.model_fields_set | {name for name, default in defaults.items() if getattr(self, name) != default}
        return {key: values[key] for key in dict.fromkeys((*self._order, *values)) if key in kept}


class Part(Document):
    """Base of the parts of a document, which have no other keys. A field that was not given stays out of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def pick(cls, values: Mapping[str, object], **more: object) -> Self:
        """Build it from those of the values that it has a field for, and from `more`."""
        known = {**values, **more}
        given = {name: known[name] for name in cls.model_fields if name in known}
        return cls.model_validate(given, from_attributes=True)

    @classmethod
    def made_from(cls, record: object, **more: object) -> Self:
        """Build it, and the parts in it, from those attributes of a record that it has a field for, and from `more`."""
        return cls.pick({name: getattr(record, name) for name in cls.model_fields if hasattr(record, name)}, **more)


class Whole(BaseModel):
    """Base of a whole document."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def document(self) -> dict[str, Any]:
        """The document as plain dictionaries, as it stands in the file."""
        return self.model_dump(mode="json", by_alias=True)
