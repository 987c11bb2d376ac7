"""Files and tokenizer of each variant's model, opened as its kind of engine needs them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic_core import to_jsonable_python

from bitparity.engines.registry import engine_of
from bitparity.errors import ModelError
from bitparity.exam.rendering import Renderer
from bitparity.models.checkpoint import model_type, resolve_model, resolve_tokenizer
from bitparity.models.identity import identity_of, other_tokenizer, tokenizer_identity
from bitparity.schema import Study, Variant
from bitparity.store.environment import Facts


@dataclass(slots=True)
class ModelFiles:
    """A variant's files: where they lie, what they are, and its tokenizer (None for recorded answers)."""

    folder: Path | None
    identity: Facts
    renderer: Renderer | None = None


def open_models(study: Study) -> dict[str, ModelFiles]:
    """Every variant's model; the control is the baseline's own, neither hashed nor loaded again.

    Raises ModelError naming the variant.
    """
    own = {name: variant for name, variant in study.variants.items() if name != study.second_run}
    renderers: dict[str, Renderer] = {}
    with ThreadPoolExecutor() as pool:  # hashing weights is most of it, and takes one core a file
        hashed = {name: pool.submit(_open_files, name, variant) for name, variant in own.items()}
        models = {name: _with_renderer(name, own[name], model.result(), renderers) for name, model in hashed.items()}
    if (control := study.second_run) is not None:
        recorded = engine_of(study.variants[control].engine).recorded  # a recording of its own
        models[control] = _open_files(control, study.variants[control]) if recorded else models[study.baseline]
    return {name: models[name] for name in study.variants}


def with_folder(name: str, variant: Variant) -> Variant:
    """The variant with its model's folder, before anything of it is read. Raises ModelError naming the variant."""
    if not engine_of(variant.engine).has_local_weights:
        return variant
    with _naming(name):
        return variant.model_copy(update={"model": str(resolve_model(variant))})


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Errors of models say which variant's they are."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"variant '{name}': {error}") from None


def _open_files(name: str, variant: Variant) -> ModelFiles:
    engine = engine_of(variant.engine)
    if engine.recorded:
        return ModelFiles(None, {"recorded": variant.model})
    with _naming(name):
        if engine.has_local_weights:
            folder = resolve_model(variant)
            named = {} if variant.named is None else {"named": variant.named}
            return ModelFiles(folder, to_jsonable_python({**identity_of(variant, folder), **named}))
        # a model behind a server: nothing of it is here but, where the study names one, its tokenizer
        served = {"server": variant.engine.base_url, "model": variant.model}
        tokenizer = {} if variant.tokenizer is None else other_tokenizer(resolve_tokenizer(variant))
        return ModelFiles(None, to_jsonable_python({**served, **tokenizer}))


def _with_renderer(name: str, variant: Variant, model: ModelFiles, known: dict[str, Renderer]) -> ModelFiles:
    """The model with its tokenizer; checkpoints whose tokenizer files are the same share one, and its prompts."""
    engine, trusted = engine_of(variant.engine), variant.engine.trust_remote_code
    if engine.recorded or (engine.served and variant.tokenizer is None):
        return model
    with _naming(name):
        folder = resolve_tokenizer(variant)
        key = repr((tokenizer_identity(folder), model_type(folder), trusted))
        if key not in known:
            known[key] = Renderer(folder, trust_remote_code=trusted)
    model.renderer = known[key]
    return model
