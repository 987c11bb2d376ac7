"""Guards on the conditions: prompts, sampling, tokenizers, engines and devices that differ between variants."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any

from bitparity.exam.frozen import ExamItem
from bitparity.hardware.devices import slice_kind
from bitparity.records import Sample
from bitparity.results.guards.facts import Facts, differences, guard, level, text
from bitparity.results.schema import Guard, Level, SpotCheck
from bitparity.results.sheet import compared

# The facts of an engine that should be the same for all variants, by the guard on them.
_ENGINE_FACTS = {
    "engine_difference": "engine version packages cuda",
    "device_difference": "device_name compute_capability tensor_parallel_size threads mig",
    "settings_difference": "dtype kv_cache_dtype attention_backend enforce_eager prefix_caching batch_invariant "
    "max_num_seqs max_num_batched_tokens batch_size end_token_ids model_runner compilation chunked_prefill "
    "async_scheduling variables trust_remote_code",
}

SHOWN_MODELS = 3
SHOWN_ITEMS = 5  # in a message
UNEQUAL_BUDGET_ERROR = 0.01  # share of answers cut off before the study's budget


def notes(facts: Facts) -> Iterator[Guard]:
    """Parts of the protocol that the chat template did not take."""
    for note in facts.exam.notes:
        yield guard("prompt", None, "warning", note=note)


def prompt_differs(facts: Facts) -> Iterator[Guard]:
    """A prompt that reached a model with another number of tokens than the exam's: cut, or another one."""
    entries = {entry.item.id: entry for entry in facts.exam.items}
    for name, sheet in facts.started():
        wrong = [(item, s.prompt_tokens) for (item, _), s in sheet.samples.items() if not _fits(entries[item], s)]
        if wrong:
            (item, tokens), share = wrong[0], len(wrong) / len(sheet.samples)
            first = {"item": item, "tokens": tokens, "expected": entries[item].prompt_tokens}
            counts = {"wrong": len(wrong), "prompts": len(sheet.samples)}
            yield guard("prompt_differs", name, "error", share, "exam", **counts, **first)


def _fits(entry: ExamItem, sample: Sample) -> bool:
    """True if a sample's prompt can be the exam's by its tokens; of several orders only the longest is known."""
    tokens = None if sample.finish == "error" else sample.prompt_tokens
    # no tokenizer saw the exam, the engine does not tell, or the sample's own earlier answers are in the prompt
    if entry.prompt_tokens is None or not tokens or entry.item.after is not None:
        return True
    return tokens <= entry.prompt_tokens if len(entry.item.prompts) > 1 else tokens == entry.prompt_tokens


def prompts_unequal(facts: Facts) -> Iterator[Guard]:
    """Prompts of other lengths than the baseline's, where no tokenizer of ours has seen them (recordings)."""
    if facts.exam.rendered:
        return
    ours = facts.sheets[facts.study.baseline].samples
    alike = {entry.item.id for entry in facts.exam.items if entry.item.after is None}  # without own answers in them
    for name, sheet in facts.started():
        both = {k: (s.prompt_tokens, ours[k].prompt_tokens) for k, s in sheet.samples.items() if k in ours}
        told = {key: tokens for key, tokens in both.items() if key[0] in alike and all(tokens)}
        if wrong := [key for key, (here, baseline) in told.items() if here != baseline]:
            figures = {"wrong": len(wrong), "prompts": len(told), "item": min(wrong)[0]}
            yield guard("prompt_differs", name, "error", len(wrong) / len(told), "baseline", **figures)


def exam_differs(facts: Facts) -> Iterator[Guard]:
    """A variant that sat another exam: other items, prompts or data than those that are compared here."""
    for name, _ in facts.started():
        sat = facts.environment.variant(name).exam.get(facts.spec.name)
        if sat is not None and facts.exam.sha256 is not None and sat != facts.exam.sha256:
            yield guard("exam_differs", name, "error", sat, sat=sat, exam=facts.exam.sha256)


def sampling_differs(facts: Facts) -> Iterator[Guard]:
    """Sampling values or a token budget that are not the exam's."""
    asked = json.loads(json.dumps(asdict(facts.exam.sampling)))
    for name, _ in facts.started():
        record, bench = facts.environment.variant(name), facts.spec.name
        noted = [record.sampling.get(bench) or asked, *(_as_asked(asked, sent) for sent in record.sent.get(bench, []))]
        if differing := next(filter(None, (differences(asked, values) for values in noted)), ""):
            yield guard("sampling_differs", name, "error", None, "exam", differing=differing)


def _as_asked(asked: Mapping[str, Any], sent: Mapping[str, Any]) -> dict[str, Any]:
    """The values that an engine sent, in the exam's terms: one without effect, or done otherwise, counts as asked for.

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
        written = [(s.tokens, s.finish) for s in sheet.written() if s.tokens]
        early = [tokens for tokens, finish in written if finish == "length" and tokens < budget]
        beyond = [tokens for tokens, _ in written if tokens > budget]
        said = [
            text("budget_differs", key, count=len(tokens), least=min(tokens), most=max(tokens))
            for key, tokens in (("early", early), ("beyond", beyond))
            if tokens
        ]
        if said:
            share, found = (len(early) + len(beyond)) / len(sheet.samples), " and ".join(said)
            yield guard("budget_differs", name, level(share, UNEQUAL_BUDGET_ERROR), share, found=found, budget=budget)


def tokenizer_differs(facts: Facts) -> Iterator[Guard]:
    """Other tokenizer files or another chat template than the baseline's."""
    baseline = facts.identity(facts.study.baseline)
    found: Level = "warning" if facts.exam.rendered else "error"  # rendered: every prompt was compared
    for name in facts.study.candidates:
        own = facts.identity(name)
        if "tokenizer_sha256" not in baseline or "tokenizer_sha256" not in own:  # recorded, or behind a server
            continue
        if baseline["tokenizer_sha256"] != own["tokenizer_sha256"]:
            yield guard("tokenizer_differs", name, found, None, found)
        if baseline.get("chat_template_sha256") != own.get("chat_template_sha256"):
            yield guard("chat_template_differs", name, found, None, found)


def engine_differs(facts: Facts) -> Iterator[Guard]:
    """Engine, device or settings that are not the baseline's."""
    engines = dict(facts.latest())
    if (baseline := engines.pop(facts.study.baseline, None)) is None:
        return
    for (name, own), (about, keys) in product(engines.items(), _ENGINE_FACTS.items()):
        one, other = (_kept(engine, keys.split()) for engine in (baseline, own))
        if differing := differences(one, other):
            yield guard(about, name, "warning", differing=differing)


def _kept(engine: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The facts of these names, less what only tells equal devices apart."""
    found = {key: engine[key] for key in keys if key in engine}
    return {**found, "mig": slice_kind(found["mig"])} if "mig" in found else found


def not_repeatable(facts: Facts) -> Iterator[Guard]:
    """Answers of the baseline's second run that differ from the first's, where batch invariance makes them the same."""
    check = facts.spot_check or _whole_check(facts)
    if check is not None and check.differing:
        count = len(check.differing)
        items = _listed([f"'{item:.60}'" for item in check.differing], SHOWN_ITEMS)
        figures = {"different": count, "answers": check.answered, "items": items}
        yield guard("not_repeatable", check.variant, "error", count / check.answered, **figures)


def _listed(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _whole_check(facts: Facts) -> SpotCheck | None:
    """The same of a whole second run, whose greedy answers alone must be the same: its seeds are others."""
    engines, control = dict(facts.latest()), facts.study.control
    invariant = all(engines.get(name or "", {}).get("batch_invariant") for name in (facts.study.baseline, control))
    if not invariant or control is None or facts.exam.sampling.temperature > 0:
        return None
    one, other = facts.sheets[facts.study.baseline].samples, facts.sheets[control].samples
    answered, differing = compared(one, other, sorted(one.keys() & other.keys()))
    return SpotCheck(variant=control, asked=len(one), answered=len(answered), differing=[item for item, _ in differing])


def mixed_engines(facts: Facts) -> Iterator[Guard]:
    """A variant whose answers come from more than one installation or device."""
    for name in facts.sheets:
        engines = facts.engines(name)
        if len(engines) > 1:
            yield guard("mixed_engines", name, "warning", len(engines), differing=differences(engines[-2], engines[-1]))


def restarted(facts: Facts) -> Iterator[Guard]:
    """A variant whose engine died or hung and was started again."""
    for name in facts.sheets:
        if restarts := facts.environment.variant(name).restarts:
            lowered = ", ".join(f"{key} {value}" for entry in restarts for key, value in entry.lowered.items())
            less = text("restarted", "less", lowered=lowered) if lowered else ""
            yield guard("restarted", name, "warning", len(restarts), less=less, reason=restarts[-1].reason)


def recorded(facts: Facts) -> Iterator[Guard]:
    """Answers that were made elsewhere."""
    names = [name for name in facts.sheets if any(e.get("engine") == "replay" for e in facts.engines(name))]
    if names:
        yield guard("recorded", None, "warning", len(names) / len(facts.sheets), variants=", ".join(names))


def unproved(facts: Facts) -> Iterator[Guard]:
    """Answers of a server, which alone knows what it runs."""
    for name, sheet in facts.sheets.items():
        for engine in [engine for engine in facts.engines(name) if engine.get("engine") == "openai"][-1:]:
            answers = [sample for sample in sheet.samples.values() if sample.finish != "error"]
            said = _of_server(engine, facts.study.variants[name].model, answers)
            yield guard("unproved", name, "warning", said="; ".join(said))


def _of_server(engine: Mapping[str, Any], model: str, answers: Sequence[Sample]) -> Iterator[str]:
    """The facts about a server's answers that cannot be proved, one clause each."""
    say = partial(text, "unproved", answers=len(answers))
    yield say("hidden", facts=", ".join(engine["unproved"]), server=engine["server"]["base_url"])
    if engine["chat_template"] != "the exam's":
        yield say("template")
    elif not engine["exam_tokens_sent"]:
        yield say("tokens")
    if not engine["sampling_extensions"]:
        yield say("sampling")
    if uncounted := sum(s.tokens is None for s in answers):
        yield say("uncounted", uncounted=uncounted)
    elif not engine["usage_reported"]:
        yield say("no_usage")
    if named := [s.served_model for s in answers if s.served_model is not None]:
        yield say("other_model", model=model, others=_listed(sorted(set(named)), SHOWN_MODELS), named=len(named))
