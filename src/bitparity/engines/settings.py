"""Settings of a variant's engine: the keys that a study sets, checked against those that its kind takes."""

from __future__ import annotations

from collections.abc import Mapping

from bitparity.engines.contract import Engine
from bitparity.engines.registry import built_in, engine_class
from bitparity.schema import EngineSpec, check_keys

# the keys that every kind takes
_EVERY_KIND = ("kind", "dtype", "batch_size", "max_model_len", "trust_remote_code", "stall_timeout")


def engine_spec(kind: type[Engine], given: Mapping[str, object]) -> EngineSpec:
    """The engine of a variant, from the keys that are given for it.

    Raises ValueError (with pydantic's ValidationError) or UserInputError for what its kind does not take.
    """
    own = {key: value for key, value in given.items() if key not in EngineSpec.model_fields}
    check_keys(own, [*EngineSpec.model_fields, *kind.settings.model_fields])
    settings = kind.settings.model_validate(own).model_dump(mode="json")
    spec = EngineSpec.model_validate({**given, **settings})
    if refused := [key for key in given if key not in {*_EVERY_KIND, *kind.takes, *own}]:
        raise ValueError(_not_taken(spec.kind, refused))
    kind.check(spec)
    return spec


def _not_taken(kind: str, keys: list[str]) -> str:
    names = ", ".join(keys)
    engines = {other: engine_class(other) for other in built_in()}
    others = [name for name, engine in engines.items() if not engine.recorded and {*keys} <= {*engine.takes}]
    if engine_class(kind).served:
        said = f"engine {kind} cannot set {names}: the server decides that"
    else:
        said = f"engine {kind} takes no {names}" + (f", which engine {' or '.join(others)} has" if others else "")
    return f"{said}; remove it from this variant's engine, or from the study's and set it where other engines need it"
