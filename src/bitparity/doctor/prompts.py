"""Check of the prompts: token budgets against contexts and thinking, which a chat template shows, and exams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from bitparity.benchmarks.registry import benchmark_class
from bitparity.doctor.checkpoints import Checkpoint, Checkpoints
from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.hub import hub_source
from bitparity.errors import BitparityError, DataError, MissingDependencyError, UnavailableError
from bitparity.exam.build import build_exam
from bitparity.exam.rendering import Renderer
from bitparity.exam.requests import check_lengths
from bitparity.grading.reasoning import ends_in_reasoning
from bitparity.models.config import read_object
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, Protocol, ReasoningSpec, Study

Thinking = Literal["on", "off", "not shown"]

# Arguments that switch thinking: Qwen3, GLM-4.5, SmolLM3, Hunyuan; DeepSeek-V3.1, Granite 3.2, Kimi-K2.5
SWITCHES = ("enable_thinking", "thinking")
_QUESTION = {"role": "user", "content": "What is 1 + 1?"}
FAULTY_BUDGET = 4096  # tokens: a thinking model's answer seldom comes so early
SMALL_BUDGET = 16_384
SHORT_PROMPT = 1024  # tokens: many a question with its options and instructions takes more
LONG_PROMPT = 2048  # tokens, where the prompts are not counted
Part = Literal["tokenizer", "data", "length"]
Contexts = Mapping[str, int | None]  # the longest sequence of each variant in tokens; None where it is not known


def thinking(folder: Path, template: str, protocol: Protocol) -> Thinking:
    """The state in which a prompt of this protocol leaves the model.

    The template makes the prompt for an answer, with the study's arguments: "on" where it ends in an open reasoning,
    "off" where it ends in a closed one. Where it ends in neither, a switch of thinking tells, by which of its values
    gives the same prompt. A template that cannot be rendered is searched for these words.
    """
    tags, given = tags_of(protocol), protocol.chat_template_args
    try:
        prompt = _rendered(folder, template, protocol, given)
        if ends_in_reasoning(prompt, tags):
            return "on"
        if prompt.rstrip().endswith(tags.end):
            return "off"
        for switch in SWITCHES:
            # many templates take any unknown argument: only one that changes the prompt is a switch
            on, off = (_rendered(folder, template, protocol, {**given, switch: value}) for value in (True, False))
            if on != off and prompt in (on, off):
                return "on" if prompt == on else "off"
    except Exception:  # no transformers here, or a template that fails: it may raise nearly anything
        return _searched(template, protocol)
    return "not shown"


def tags_of(protocol: Protocol) -> ReasoningSpec:
    """The protocol's tags, or those of nearly every model."""
    return protocol.reasoning if isinstance(protocol.reasoning, ReasoningSpec) else ReasoningSpec()


def switch_off(folder: Path, template: str, protocol: Protocol) -> str | None:
    """The argument that switches this template's thinking off when it is false; None where none does."""
    for switch in SWITCHES:
        given = {**protocol.chat_template_args, switch: False}
        if thinking(folder, template, protocol.model_copy(update={"chat_template_args": given})) == "off":
            return switch
    return None


def _rendered(folder: Path, template: str, protocol: Protocol, arguments: Mapping[str, object]) -> str:
    from transformers.utils.chat_template_utils import render_jinja_template  # as its tokenizers render

    # the tokens that templates name, bos_token and the like
    config = read_object(folder / "tokenizer_config.json")
    names = [name for name in config.values if name.endswith("_token")]
    tokens = {name: part.text("content") if (part := config.part(name)) else config.text(name) for name in names}
    given = {**{name: text for name, text in tokens.items() if text is not None}, **arguments}
    chat = [*([{"role": "system", "content": protocol.system}] if protocol.system else []), _QUESTION]
    prompts, _ = render_jinja_template([chat], chat_template=template, add_generation_prompt=True, **given)
    return str(prompts[0])


def _searched(template: str, protocol: Protocol) -> Thinking:
    given = [value for name, value in protocol.chat_template_args.items() if name in SWITCHES and name in template]
    if given:
        return "on" if given[0] else "off"
    opens = tags_of(protocol).start in template.rpartition("add_generation_prompt")[2]
    return "on" if opens or SWITCHES[0] in template else "not shown"


def longest_sequence(study: Study) -> int:
    """The longest answer with a prompt of some length, in tokens."""
    return max(spec.protocol.max_tokens for spec in study.benchmarks) + LONG_PROMPT


def check_budgets(study: Study, folder: Path | None, checkpoints: Checkpoints, contexts: Contexts) -> Iterator[Finding]:
    """Each benchmark's token budget against the contexts and against what a thinking model needs.

    `folder` holds the tokenizer that makes the exam's prompts, None where it is not here.
    """
    places = [Checkpoint(folder, None, None), *checkpoints.values()]
    template = next(((c.folder, text) for c in places if c.folder and (text := c.template())), None)
    for spec in study.benchmarks:
        topic = Topic(f"budget of {spec.name}")
        faults = [*_too_long(topic, spec, contexts), *_thinking(topic, spec, template)]
        yield from faults or [topic.ok("budget", budget=spec.protocol.max_tokens)]


def _too_long(topic: Topic, spec: BenchmarkSpec, contexts: Contexts) -> Iterator[Finding]:
    budget = spec.protocol.max_tokens
    for name, context in contexts.items():
        if context is None or context - budget >= SHORT_PROMPT:
            continue
        if budget >= context:
            yield topic.error("no_room_for_prompt", budget=budget, name=name, context=context)
        elif not _data_is_here(spec):  # prompts that are here are counted
            left = context - budget
            yield topic.warning("little_room_for_prompt", budget=budget, left=left, name=name, context=context)


def _thinking(topic: Topic, spec: BenchmarkSpec, template: tuple[Path, str] | None) -> Iterator[Finding]:
    """The model thinks and the protocol does not know, or gives too little room.

    `template` is the chat template with the folder it comes from.
    """
    protocol = spec.protocol
    if spec.name.startswith(LM_EVAL_PREFIX) and not protocol.apply_chat_template:
        return
    shown = thinking(*template, protocol) if template is not None and protocol.apply_chat_template else "not shown"
    if protocol.reasoning != "none" and shown != "off":
        if protocol.max_tokens <= FAULTY_BUDGET:
            yield topic.error("budget_too_small", budget=protocol.max_tokens)
        elif protocol.max_tokens < SMALL_BUDGET:
            yield topic.warning("budget_small", budget=protocol.max_tokens)
    elif protocol.reasoning == "none" and shown == "on" and template is not None:
        tags, switch = tags_of(protocol), switch_off(*template, protocol)
        cut = f", cut off at max_tokens {protocol.max_tokens:,}" if protocol.max_tokens < SMALL_BUDGET else ""
        off = f", or switch it off: chat_template_args: {{{switch}: false}}" if switch else ""
        yield topic.error("thinks_unasked", cut=cut, start=tags.start, end=tags.end, switch_off=off)


def check_prompts(study: Study, folder: Path | None, contexts: Contexts) -> Iterator[Finding]:
    """The prompts of each benchmark whose data is here, in the baseline's tokens, with their budget."""
    if folder is None or not any((folder / n).exists() for n in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return
    try:
        renderer = Renderer(folder, study.variants[study.baseline].engine.trust_remote_code)
    except BitparityError as problem:
        yield Topic("prompts").error("prompts_fail", problem=problem, remedy=_remedy(problem, "tokenizer"))
        return
    for spec in filter(_data_is_here, study.benchmarks):  # other data is checked by the run before anything loads
        yield from _exam(Topic(f"prompts of {spec.name}"), spec, renderer, contexts)


def _exam(topic: Topic, spec: BenchmarkSpec, renderer: Renderer, contexts: Contexts) -> Iterator[Finding]:
    part: Part = "data"  # each part that can fail has its own remedy
    try:
        exam = build_exam(spec, renderer)
        part = "length"
        for name, context in contexts.items():
            check_lengths(exam, name, context)
    except BitparityError as problem:
        yield topic.error("prompts_fail", problem=problem, remedy=_remedy(problem, part, spec.name))
        return
    longest = max((entry.prompt_tokens or 0 for entry in exam.items), default=0)
    yield topic.ok("prompts", items=len(exam.items), longest=longest)
    for note in exam.notes:
        yield topic.warning("exam_note", note=note)


def _data_is_here(spec: BenchmarkSpec) -> bool:
    return not spec.name.startswith(LM_EVAL_PREFIX) and hub_source(spec) is None


def _remedy(problem: BitparityError, part: Part, benchmark: str | None = None) -> str:
    """The remedy for an error in making the prompts; `part` was being looked at, for one benchmark."""
    if isinstance(problem, MissingDependencyError):
        return str(problem).partition("Install it with: ")[2]
    if isinstance(problem, UnavailableError):
        setup = benchmark and benchmark_class(benchmark).info.setup
        return f"set up what it needs{f' ({setup})' if setup else ''}, or leave this benchmark out"
    if isinstance(problem, DataError):
        return "correct the file that 'data:' names, or leave 'data' out to take the data set from the hub"
    return {
        "tokenizer": "copy or download the tokenizer's files again; a newer model may need a newer transformers",
        "data": "change the protocol, or name a 'tokenizer' whose chat template takes it",
        "length": "raise max_model_len or lower max_tokens",
    }[part]
