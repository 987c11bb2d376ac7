"""Guards on the conditions: prompts, sampling, tokenizers, engines and devices that differ between variants."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from bitparity.exam.frozen import ExamItem
from bitparity.results.guards.facts import Answers, Facts, guard, level
from bitparity.results.schema import Guard
from bitparity.store.environment import slice_kind

# What should be the same for all variants, by what differs: the key or keys of an engine's facts.
_ENGINE_KEYS = {
    "engine": ("engine", "version", "packages", "cuda"),
    "device": ("device_name", "compute_capability", "tensor_parallel_size", "threads", "mig"),
    "settings": (
        "dtype",
        "kv_cache_dtype",
        "attention_backend",
        "enforce_eager",
        "prefix_caching",
        "batch_invariant",
        "max_num_seqs",
        "max_num_batched_tokens",
        "batch_size",
        "end_token_ids",
        "model_runner",
        "compilation",
        "chunked_prefill",
        "async_scheduling",
        "variables",
        "trust_remote_code",
    ),
}


_NAMES = {"engine": "engine_difference", "device": "device_difference", "settings": "settings_difference"}


_MEANING = {
    "engine": "another engine or version computes differently, so the difference is not precision alone; run all "
    "variants with the same installation",
    "device": "another device computes differently, so the difference is not precision alone, and speeds cannot be "
    "compared; run all variants on the same device",
    "settings": "unless that is what you compare, set it alike for all variants in the study's engine section",
}


SHOWN_MODELS = 3


UNEQUAL_BUDGET_ERROR = 0.01  # share of answers cut off before the study's budget


def notes(facts: Facts) -> Iterator[Guard]:
    """What of the protocol the chat template did not take."""
    for note in facts.exam.notes:
        yield guard("prompt", None, "warning", None, note)


def prompt_differs(facts: Facts) -> Iterator[Guard]:
    """A prompt that reached a model with another number of tokens than the exam's: cut, or another one."""
    entries = {entry.item.id: entry for entry in facts.exam.items}
    for name, sheet in facts.started():
        wrong = [
            (item, sample.prompt_tokens)
            for (item, _), sample in sheet.samples.items()
            if sample.finish != "error" and not _fits(entries[item], sample.prompt_tokens)
        ]
        if wrong:
            item, tokens = wrong[0]
            message = (
                f"{len(wrong)} of {len(sheet.samples)} prompts reached the model with another length than the exam's "
                f"(item '{item}': {tokens} tokens, the exam has {entries[item].prompt_tokens}): they were cut or "
                "rendered differently, so this variant sat another exam. Run it again in a new directory"
            )
            yield guard("prompt_differs", name, "error", len(wrong) / len(sheet.samples), message)


def _fits(entry: ExamItem, tokens: int | None) -> bool:
    """Whether a prompt of so many tokens can be the exam's; of several orders only the longest is known."""
    if entry.prompt_tokens is None or not tokens:  # no tokenizer saw the exam, or the engine does not tell
        return True
    if entry.item.after is not None:  # the sample's own earlier answers are in it
        return True
    several = len(entry.item.prompts) > 1
    return tokens <= entry.prompt_tokens if several else tokens == entry.prompt_tokens


def prompts_unequal(facts: Facts) -> Iterator[Guard]:
    """Prompts of other lengths than the baseline's, where no tokenizer of ours has seen them (recordings)."""
    if facts.exam.rendered:
        return
    ours = facts.baseline.samples
    alike = {entry.item.id for entry in facts.exam.items if entry.item.after is None}  # without own answers in them
    for name, sheet in facts.started():
        shared = [k for k in sheet.samples.keys() & ours.keys() if k[0] in alike and sheet.samples[k].prompt_tokens]
        shared = [key for key in shared if ours[key].prompt_tokens]
        wrong = [key for key in shared if sheet.samples[key].prompt_tokens != ours[key].prompt_tokens]
        if wrong:
            item = min(wrong)[0]
            message = (
                f"{len(wrong)} of {len(shared)} prompts have another length than the baseline's (for example item "
                f"'{item}'): the variants were not asked the same. Record both with the same prompts"
            )
            yield guard("prompt_differs", name, "error", len(wrong) / len(shared), message)


def exam_differs(facts: Facts) -> Iterator[Guard]:
    """A variant that sat another exam: other items, prompts or data than those that are compared here."""
    for name, _ in facts.started():
        sat = facts.sat(name)
        if sat is not None and facts.exam.sha256 is not None and sat != facts.exam.sha256:
            message = (
                f"this variant answered another exam ({sat[:12]}) than the run's ({facts.exam.sha256[:12]}): other "
                "questions, prompts or data revision. Run it again in a new directory"
            )
            yield guard("exam_differs", name, "error", sat, message)


def sampling_differs(facts: Facts) -> Iterator[Guard]:
    """Sampling values or a token budget that are not the exam's."""
    asked = json.loads(json.dumps(asdict(facts.exam.sampling)))
    for name, _ in facts.started():
        noted = [facts.asked(name) or asked, *(_as_asked(asked, sent) for sent in facts.sent(name))]
        if differing := next(filter(None, (_differing(asked, values) for values in noted)), ""):
            message = (
                f"this variant was sampled otherwise than the exam says ({differing}): the difference may come from "
                "that alone. Run it again in a new directory"
            )
            yield guard("sampling_differs", name, "error", None, message)


def settings_differ(answers: Answers) -> Iterator[Guard]:
    """Sampling values, as the source notes them, that are not the baseline's."""
    ours = answers.first.settings
    for name, sheet in answers.others():
        theirs = sheet.settings
        if ours is not None and theirs is not None and (differing := _differing(ours, theirs, 4)):
            message = (
                f"'{name}' was generated with other settings than '{answers.baseline}' ({differing}): the difference "
                "may come from that alone. Run both with the same"
            )
            yield guard("sampling_differs", name, "error", None, message)


def _as_asked(asked: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """What an engine sent, in the exam's terms: what has no effect, or is done otherwise, counts as asked for.

    Without a temperature vLLM drops what narrows the choice; stop strings may be looked for in the finished text; a
    text that is scored is not sampled at all.
    """
    if sent.get("prompt_logprobs") is not None:
        return dict(asked)
    idle = {"top_p", "top_k", "min_p"} if asked["temperature"] == 0 else set()
    found = {key: value if key in idle else sent.get(key, value) for key, value in asked.items()}
    return {**found, "top_k": max(0, found["top_k"]), "stop": found["stop"] or asked["stop"]}


def budget_differs(facts: Facts) -> Iterator[Guard]:
    """Answers that were cut off before the study's token budget, or go beyond it."""
    budget = facts.exam.sampling.max_tokens
    for name, sheet in facts.started():
        written = [s for s in sheet.samples.values() if s.logprobs is None and s.finish != "error"]
        early = [s.tokens for s in written if s.finish == "length" and s.tokens and s.tokens < budget]
        beyond = [s.tokens for s in written if s.tokens is not None and s.tokens > budget]
        said = [f"{len(early)} answers were cut off after {min(early)} to {max(early)} tokens"] if early else []
        said += [f"{len(beyond)} answers have {min(beyond)} to {max(beyond)} tokens"] if beyond else []
        if said:
            share = (len(early) + len(beyond)) / len(sheet.samples)
            message = (
                f"{' and '.join(said)}, where the budget is {budget}: this variant had another budget than the study "
                "gives; check max_model_len, or the settings of the server or the recording"
            )
            yield guard("budget_differs", name, level(share, UNEQUAL_BUDGET_ERROR), share, message)


def tokenizer_differs(facts: Facts) -> Iterator[Guard]:
    """Other tokenizer files or another chat template than the baseline's."""
    baseline = facts.identity(facts.study.baseline)
    for name in facts.study.candidates:
        own = facts.identity(name)
        if "tokenizer_sha256" not in baseline or "tokenizer_sha256" not in own:  # recorded, or behind a server
            continue
        for key, what in (("tokenizer_sha256", "tokenizer files"), ("chat_template_sha256", "chat template")):
            if baseline.get(key) != own.get(key):
                proved = facts.exam.rendered
                yield guard(
                    "tokenizer_differs" if key == "tokenizer_sha256" else "chat_template_differs",
                    name,
                    "warning" if proved else "error",
                    None,
                    f"its {what} are not the baseline's"
                    + (
                        "; every prompt of this exam was checked to be the same, token by token, so only prompts "
                        "outside it can differ"
                        if proved
                        else " and the prompts could not be compared: use the baseline's files for both"
                    ),
                )


def engine_differs(facts: Facts) -> Iterator[Guard]:
    """Engine, device or settings that are not the baseline's."""
    baseline = facts.engines(facts.study.baseline)
    for name in facts.sheets:
        own = facts.engines(name)
        if name == facts.study.baseline or not own or not baseline:
            continue
        for kind, keys in _ENGINE_KEYS.items():
            one, other = (_kept(side[-1], keys) for side in (baseline, own))
            if differing := _differing(one, other):
                text = f"not the baseline's {kind} ({differing}): {_MEANING[kind]}"
                yield guard(_NAMES[kind], name, "warning", None, text)


def _kept(engine: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The facts of these names, less what only tells equal devices apart."""
    found = {key: engine[key] for key in keys if key in engine}
    return {**found, "mig": slice_kind(found["mig"])} if "mig" in found else found


def mixed_engines(facts: Facts) -> Iterator[Guard]:
    """A variant whose answers come from more than one installation or device."""
    for name in facts.sheets:
        engines = facts.engines(name)
        if len(engines) > 1:
            message = (
                f"its answers come from {len(engines)} different engines or devices "
                f"({_differing(engines[-2], engines[-1])}): the run was continued under other conditions; "
                "start anew if that may matter"
            )
            yield guard("mixed_engines", name, "warning", len(engines), message)


def restarted(facts: Facts) -> Iterator[Guard]:
    """A variant whose engine died or hung and was started again."""
    for name in facts.sheets:
        restarts = facts.restarts(name)
        if restarts:
            lowered = [f"{key} {value}" for entry in restarts for key, value in entry.lowered.items()]
            less = f" with less at once ({', '.join(lowered)})" if lowered else ""
            message = (
                f"its engine died or hung and was started again{less}, {len(restarts)} times in all; the last reason: "
                f"{restarts[-1].reason[:300]}. Every answer is whole, but an engine that dies may also compute "
                "wrongly: look at some answers, and at logs/"
            )
            yield guard("restarted", name, "warning", len(restarts), message)


def recorded(facts: Facts) -> Iterator[Guard]:
    """Answers that were made elsewhere."""
    names = [name for name in facts.sheets if any(e.get("engine") == "replay" for e in facts.engines(name))]
    if names:
        message = (
            f"the answers of {', '.join(names)} are recordings: which prompts, sampling, engine and weights made them "
            "cannot be verified here"
        )
        yield guard("recorded", None, "warning", len(names) / len(facts.sheets), message)


def unproved(facts: Facts) -> Iterator[Guard]:
    """Answers of a server, which alone knows what it runs."""
    for name, sheet in facts.sheets.items():
        ended = [s for s in sheet.samples.values() if s.finish != "error"]
        uncounted = sum(s.tokens is None for s in ended)
        for engine in [e for e in facts.engines(name) if e.get("engine") == "openai"][-1:]:
            said = [
                f"{', '.join(engine['unproved'])} are what the server at {engine['server']['base_url']} says or hides"
            ]
            if engine["chat_template"] != "the exam's":
                said.append("its own chat template and tokenizer made the prompts")
            elif not engine["exam_tokens_sent"]:
                said.append("its own tokenizer made the prompts' tokens")
            if not engine["sampling_extensions"]:
                said.append("it refuses top_k, min_p and repetition_penalty, and may apply its own")
            if uncounted:
                said.append(f"it gave no count of tokens for {uncounted} of {len(ended)} answers")
            elif not engine["usage_reported"]:
                said.append("it does not count tokens")
            if others := sorted({s.served_model for s in ended if s.served_model is not None}):
                share = sum(s.served_model is not None for s in ended)
                more = ", ..." if len(others) > SHOWN_MODELS else ""
                said.append(
                    f"asked for '{facts.study.variants[name].model}' it names {', '.join(others[:SHOWN_MODELS])}{more} "
                    f"as the model of {share} of {len(ended)} answers: the same one's other name, or another model"
                )
            message = (
                "answered by a server, which cannot be looked into: " + "; ".join(said) + ". For a figure that proves "
                "what ran, use engine vllm"
            )
            yield guard("unproved", name, "warning", None, message)


def _differing(one: Mapping[str, object], other: Mapping[str, object], most: int = 3) -> str:
    """What differs, `key here against there`, readable in one line; "" where nothing does."""
    flat_one, flat_other = _flat(one), _flat(other)
    keys = [k for k in {**flat_one, **flat_other} if flat_one.get(k) != flat_other.get(k)]
    said = [f"{k} {flat_other.get(k, 'not given')} against {flat_one.get(k, 'not given')}" for k in keys[:most]]
    return "; ".join(said) + (f"; and {len(keys) - most} more" if len(keys) > most else "")


def _flat(value: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            found |= _flat(entry, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(entry)
    return found


RULES = (
    notes,
    prompt_differs,
    prompts_unequal,
    exam_differs,
    sampling_differs,
    budget_differs,
    tokenizer_differs,
    engine_differs,
    mixed_engines,
    restarted,
    recorded,
    unproved,
)
