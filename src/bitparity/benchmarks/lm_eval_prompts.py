"""Prompts and sampling of lm-eval's tasks in bitparity's terms; a request without a counterpart is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from bitparity.benchmarks.contract import Facts
from bitparity.benchmarks.lm_eval_data import quiet
from bitparity.errors import DataError, StudyError
from bitparity.records import Message, Prompt
from bitparity.schema import Protocol

Value = TypeVar("Value")
_CAPTURED = "\x00messages:"  # opens a context that holds messages as JSON instead of a rendered prompt
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "repetition_penalty")
_SETTINGS = {"until": "stop", "max_gen_toks": "max_tokens", **{name: name for name in _SAMPLING}}


def capture(messages: list[Message], add_generation_prompt: bool = True) -> str:
    """Stands in for the model's chat template: keeps the messages themselves in what lm-eval takes for a prompt."""
    continued = messages[-1]["role"] == "assistant"
    if continued == add_generation_prompt or not all(isinstance(m["content"], str) for m in messages):
        raise DataError("the task makes messages that are no plain chat; bitparity cannot ask them")
    return _CAPTURED + json.dumps(messages)


def prompts(name: str, requests: list[Any], writes: bool, protocol: Protocol) -> tuple[Prompt, ...]:
    """The prompts of one item: one to write from, or one for each context with its continuations, in order."""
    if writes:
        return (_prompt(name, requests[0].args[0], (), protocol),)
    grouped = itertools.groupby((r.args for r in requests), key=lambda args: args[0])
    return tuple(_prompt(name, context, tuple(a[1] for a in args), protocol) for context, args in grouped)


def _prompt(name: str, context: str, continuations: tuple[str, ...], protocol: Protocol) -> Prompt:
    if not protocol.apply_chat_template or context == "":  # an unconditional log-likelihood has the empty context
        return Prompt(text=context, continuations=continuations)
    try:
        messages = json.loads(context.removeprefix(_CAPTURED) if context.startswith(_CAPTURED) else "")
    except ValueError:
        raise DataError(
            f"lm-eval task '{name}' edits the prompt after the chat template; set apply_chat_template: false for it"
        ) from None
    return Prompt(messages=tuple(_without_system(messages, protocol.system)), continuations=continuations)


def _without_system(messages: list[Message], system: str) -> list[Message]:
    """The messages less the protocol's own system message, which is put before them as they are rendered."""
    if not system:
        return messages
    content, rest = messages[0]["content"], messages[1:]
    if content == system:
        return rest
    if content.startswith(f"{system}\n\n"):
        return [{"role": "system", "content": content.removeprefix(f"{system}\n\n")}, *rest]
    raise StudyError(
        "the task joins its description to the system message otherwise than by a blank line; "
        "take white space off the end of system:, or remove it"
    )


def writes_answer(name: str, requests: list[Any]) -> bool:
    """True for an item with an answer to write, False for one with log-likelihoods alone. Raises DataError."""
    kinds = [request.request_type for request in requests]
    if kinds != ["generate_until"] and set(kinds) != {"loglikelihood"}:
        raise DataError(f"lm-eval task '{name}' makes requests of kinds {sorted(set(kinds))} an item; not supported")
    return kinds == ["generate_until"]


def agreed(name: str, what: str, by_task: Mapping[str, Value]) -> Value:
    """The value that all leaf tasks share."""
    first, value = next(iter(by_task.items()))
    for other, its in by_task.items():
        if its != value:
            raise DataError(
                f"the tasks of '{name}' differ in their {what}: {first} has {value}, {other} has {its}; "
                "list them as benchmarks of their own"
            )
    return value


def task_settings(name: str, task: Any) -> Facts:
    """The sampling that a task sets, as keys of `Sampling`, resolved as lm-eval's model classes do.

    Empty where it writes nothing.
    """
    if task.OUTPUT_TYPE != "generate_until":
        return {}
    from lm_eval.defaults import DEFAULT_MAX_GEN_TOKS
    from lm_eval.models.utils import normalize_gen_kwargs

    with quiet():
        given = normalize_gen_kwargs(task.config.generation_kwargs, DEFAULT_MAX_GEN_TOKS)
    greedy = not given.pop("do_sample")
    beams = given.pop("num_beams", 1)
    unknown = sorted(set(given) - set(_SETTINGS)) + ([] if beams == 1 else ["num_beams"])
    if unknown:
        raise DataError(f"lm-eval task '{name}' sets {', '.join(unknown)} for its generation; not supported")
    if greedy:
        given = {k: v for k, v in given.items() if k in ("until", "max_gen_toks")}
    values = {"temperature": 0.0} | {_SETTINGS[key]: value for key, value in given.items()}
    return {**values, "stop": [stop for stop in given["until"] if stop]}
