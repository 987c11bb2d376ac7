"""Token budgets, prompts, data sets, access to the hub and the sandbox: what the study's exams need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from bitparity.benchmarks.contract import Source
from bitparity.benchmarks.registry import benchmark_class
from bitparity.doctor.checkpoints import Checkpoint
from bitparity.doctor.disks import Download
from bitparity.doctor.hub import NO_ANSWER, NOT_INSTALLED, Hub, Kind
from bitparity.doctor.thinking import switch_off, tags_of, thinking
from bitparity.engines.registry import engine_of
from bitparity.errors import BitparityError, DataError, GatedDataError, MissingDependencyError, UnavailableError
from bitparity.exam.build import build_exam
from bitparity.exam.requests import check_lengths
from bitparity.hardware.findings import Finding, error, ok, warning
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, Study, Variant

FAULTY_BUDGET = 4096  # tokens: a thinking model's answer seldom comes so early
SMALL_BUDGET = 16_384
SHORT_PROMPT = 1024  # tokens: many a question with its options and instructions takes more
Part = Literal["tokenizer", "data", "length"]
_ELSEWHERE = "run these benchmarks on a Linux host, or leave them out"
NETWORK = "check the network, the proxy (HTTPS_PROXY) and HF_ENDPOINT"


def check_budgets(
    study: Study, folder: Path | None, checkpoints: Mapping[str, Checkpoint], contexts: Mapping[str, int | None]
) -> Iterator[Finding]:
    """Each benchmark's token budget against the contexts and against what a thinking model needs.

    `folder` holds the tokenizer that makes the exam's prompts, None where it is not here.
    """
    folders = [f for f in (folder, *(c.folder for c in checkpoints.values())) if f is not None]
    template = next(((f, t) for f in folders if (t := Checkpoint(f, None, None).template())), None)
    for spec in study.benchmarks:
        faults = [*_too_long(spec, contexts), *_thinking(spec, template)]
        yield from faults
        if not faults:
            yield ok(f"budget of {spec.name}", f"{spec.protocol.max_tokens:,} tokens an answer")


def _too_long(spec: BenchmarkSpec, contexts: Mapping[str, int | None]) -> Iterator[Finding]:
    budget, topic = spec.protocol.max_tokens, f"budget of {spec.name}"
    remedy = "raise max_model_len (up to what the model allows; a server's where it is started) or lower max_tokens"
    for name, context in contexts.items():
        if context is None or context - budget >= SHORT_PROMPT:
            continue
        where = f"in the context of '{name}', {context:,} tokens"
        if budget >= context:
            yield error(topic, f"max_tokens {budget:,} leaves no room for a prompt {where}", remedy)
        elif not _data_is_here(spec):  # prompts that are here are counted
            left = f"leaves {context - budget:,} for a prompt {where}, and a longer one is refused"
            yield warning(topic, f"max_tokens {budget:,} {left}", remedy)


def _thinking(spec: BenchmarkSpec, template: tuple[Path, str] | None) -> Iterator[Finding]:
    """What goes wrong where the model thinks and the protocol does not know, or gives too little room.

    `template` is the chat template with the folder it comes from.
    """
    protocol, topic = spec.protocol, f"budget of {spec.name}"
    if spec.name.startswith(LM_EVAL_PREFIX) and not protocol.apply_chat_template:
        return
    shown = thinking(*template, protocol) if template is not None and protocol.apply_chat_template else "not shown"
    if protocol.reasoning != "none" and shown != "off":
        yield from _room_to_think(topic, protocol.max_tokens)
    elif protocol.reasoning == "none" and shown == "on" and template is not None:
        tags, switch = tags_of(protocol), switch_off(*template, protocol)
        cut = f", cut off at max_tokens {protocol.max_tokens:,}" if protocol.max_tokens < SMALL_BUDGET else ""
        yield error(
            topic,
            "this model's chat template leaves thinking on, and the protocol has none: the reasoning would be graded "
            f"as the answer{cut}",
            f"set reasoning: {{start: {tags.start}, end: {tags.end}}} and max_tokens 32,768 (profile qwen3-thinking)"
            + (f", or switch it off: chat_template_args: {{{switch}: false}}" if switch else ""),
        )


def _room_to_think(topic: str, budget: int) -> Iterator[Finding]:
    said = f"max_tokens {budget:,} with a thinking model"
    remedy = "raise max_tokens to 32,768 (profile qwen3-thinking) for every variant, and max_model_len with it"
    if budget <= FAULTY_BUDGET:
        yield error(topic, f"{said}: most answers would be cut off inside the reasoning and score 0", remedy)
    elif budget < SMALL_BUDGET:
        yield warning(topic, f"{said}: hard questions would be cut off", remedy)


def check_prompts(study: Study, folder: Path | None, contexts: Mapping[str, int | None]) -> Iterator[Finding]:
    """The prompts of each benchmark whose data is here, in the baseline's tokens, with their budget."""
    if folder is None or not any((folder / n).exists() for n in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return
    from bitparity.exam.rendering import Renderer

    try:
        remote = study.variants[study.baseline].engine.trust_remote_code
        renderer = Renderer(folder, remote)
    except BitparityError as problem:
        yield error("prompts", str(problem), _mend(problem, "tokenizer"))
        return
    for spec in study.benchmarks:
        if not _data_is_here(spec):
            continue  # its data may still have to be downloaded: the run checks it before anything loads
        what: Part = "data"
        try:
            exam = build_exam(spec, renderer)
            what = "length"
            for name, context in contexts.items():
                check_lengths(exam, name, context)
        except BitparityError as problem:
            yield error(f"prompts of {spec.name}", str(problem), _mend(problem, what, spec.name))
            continue
        longest = max((e.prompt_tokens or 0 for e in exam.items), default=0)
        yield ok(f"prompts of {spec.name}", f"{len(exam.items):,} items, the longest prompt has {longest:,} tokens")
        for note in exam.notes:
            yield warning(f"prompts of {spec.name}", note, "change the protocol if that was not meant")


def _mend(problem: BitparityError, what: Part, benchmark: str | None = None) -> str:
    """What to do about an error in making the prompts; `what` was being looked at, for one benchmark."""
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
    }[what]


class Need(NamedTuple):
    """What the hub must give: a repository at a revision (None: its newest), and what of the study needs it."""

    repo: str
    kind: Kind
    revision: str | None
    user: str


def check_access(study: Study, hub: Hub, whole: Mapping[str, bool], why_not: str | None) -> Iterator[Finding]:
    """Whether every model and data set of the hub that is not here can be read.

    `whole` tells for each variant whether its checkpoint is here; `why_not` why the hub cannot be reached.
    """
    needs = list(wanted(study, whole))
    if not needs:
        yield ok("hub", "nothing is needed from the hub")
    elif hub.offline():
        yield from _absent(needs, study, hub, "this host is told to stay offline (HF_HUB_OFFLINE)", "unset it")
    elif why_not:
        online = "install that package" if NOT_INSTALLED in why_not else NETWORK
        yield from _absent(needs, study, hub, f"the hub cannot be reached ({why_not})", online)
    else:
        yield from _refusals(needs, hub)


def _absent(needs: Sequence[Need], study: Study, hub: Hub, how: str, online: str) -> Iterator[Finding]:
    missing = _missing(needs, study, hub)
    for need in missing:
        fix = "give rows with 'data:'" if need.kind == "dataset" else "copy the checkpoint here and give its folder"
        yield error(
            "hub", f"{need.kind} {need.repo} ({need.user}) is not whole in the cache and {how}", f"{fix}, or {online}"
        )
    if not missing:
        yield ok("hub", f"{how}; all {len(needs)} that are needed have a copy in {hub.cache()}")


def _missing(needs: Iterable[Need], study: Study, hub: Hub) -> list[Need]:
    """What is not here. A model that a variant loads is only wanted where it is not here whole."""
    loaded = {(v.model, v.revision) for v in _loading(study).values()}
    return [
        need
        for need in needs
        if (need.kind == "model" and (need.repo, need.revision) in loaded)
        or hub.cached(need.repo, need.kind, need.revision) is None
    ]


def _refusals(needs: Sequence[Need], hub: Hub) -> Iterator[Finding]:
    refused = 0
    for need in needs:
        why = hub.refusal(need.repo, need.kind)
        if why is None:
            continue
        refused += 1
        yield error("hub", f"{need.kind} {need.repo} ({need.user}): {why}", _admission(need, why))
    token = "with a token" if hub.token() else "without a token"
    if not refused:
        yield ok("hub", f"reached {token}; all {len(needs)} that are needed can be read")


def _admission(need: Need, why: str) -> str:
    """What to do where the hub refuses a repository, or says nothing."""
    page = f"https://huggingface.co/{'datasets/' if need.kind == 'dataset' else ''}{need.repo}"
    if why.startswith(NO_ANSWER):
        return f"{NETWORK}; with everything in the cache set HF_HUB_OFFLINE=1"
    if "gated" not in why:
        return f"check the name at {page}; for a private one log in on this host: hf auth login, or HF_TOKEN"
    if need.kind == "dataset":
        return str(GatedDataError(need.repo)).partition("access. ")[2]
    return f"ask for access at {page}, then log in on this host: hf auth login, or HF_TOKEN"


def wanted(study: Study, whole: Mapping[str, bool]) -> Iterator[Need]:
    """What the hub must give, each repository at a revision once. `whole` is as in `check_access`."""
    here = {(v.model, v.revision) for name, v in study.variants.items() if whole.get(name)}
    loading = _loading(study)
    for name, variant in study.variants.items():
        asked = [(variant.model, variant.revision)] if name in loading else []
        asked += [(variant.tokenizer, None)] if variant.tokenizer else []
        for repo, revision in asked:
            if (repo, revision) not in here and not Path(repo).is_absolute():
                here.add((repo, revision))
                yield Need(repo, "model", revision, name)
    for spec in study.benchmarks:
        source = _hub_source(spec)
        if source is not None:
            yield Need(source.path, "dataset", source.revision, spec.name)


def _loading(study: Study) -> dict[str, Variant]:
    """The variants whose checkpoints are loaded here."""
    return {name: v for name, v in study.variants.items() if engine_of(v.engine).has_local_weights}


def _data_is_here(spec: BenchmarkSpec) -> bool:
    return not spec.name.startswith(LM_EVAL_PREFIX) and _hub_source(spec) is None


def _hub_source(spec: BenchmarkSpec) -> Source | None:
    """Where a benchmark's data set lies on the hub; None where it comes from elsewhere, or is lm-eval's matter."""
    if spec.data is not None or spec.name.startswith(LM_EVAL_PREFIX):
        return None
    source = benchmark_class(spec.name).info.source
    return source if source is not None and "/" in source.path else None


def downloads(
    study: Study, hub: Hub, checkpoints: Mapping[str, Checkpoint], whole: Mapping[str, bool]
) -> list[Download]:
    """What has still to come from the hub. lm-eval loads the data of its tasks by itself: how much, nobody knows."""
    models = {(v.model, v.revision): checkpoints[name].missing for name, v in _loading(study).items()}
    data = {source.path: source.bytes for spec in study.benchmarks if (source := _hub_source(spec)) is not None}
    found = []
    for need in _missing(wanted(study, whole), study, hub):
        weights = need.kind == "model" and (need.repo, need.revision) in models
        size = models[need.repo, need.revision] if weights else data.get(need.repo)
        found.append(
            Download(f"{need.repo}@{need.revision}" if weights and need.revision else need.repo, size, weights)
        )
    tasks = [s.name for s in study.benchmarks if s.name.startswith(LM_EVAL_PREFIX) and s.data is None]
    return found + [Download(name, None) for name in tasks]


def served_by(topic: str, variant: Variant, about: Mapping[str, Any]) -> Finding:
    """What a server that answers says of a variant."""
    url = variant.engine.base_url
    if about.get("unlisted"):
        return warning(
            topic,
            f"{url} answers, but does not list its models ({about['unlisted']}): nothing shows that it has "
            f"'{variant.model}'",
            "check that base_url ends in /v1, as most servers want it, and the model's name",
        )
    version = " ".join(str(about[k]) for k in ("software", "version") if about.get(k)) or "of unknown kind"
    length = f", context of {about['max_model_len']:,} tokens" if about.get("max_model_len") else ""
    return ok(topic, f"{url} serves '{variant.model}' ({version}{length})")


def check_sandbox(study: Study) -> Iterator[Finding]:
    """Whether a model's code can be confined here, where a benchmark runs any."""
    names = [spec.name for spec in study.benchmarks if _runs_code(spec)]
    if not names:
        return
    from bitparity.sandbox.levels import open_sandbox

    try:
        sandbox = open_sandbox()
    except BitparityError as problem:
        text, _, remedy = str(problem).partition(" Remedy: ")
        yield error("sandbox", f"{', '.join(names)}: {text}", remedy or _ELSEWHERE)
        return
    try:
        yield ok("sandbox", f"{', '.join(names)} run in it: {_level(sandbox)}")
    finally:
        sandbox.close()


def _runs_code(spec: BenchmarkSpec) -> bool:
    try:
        return benchmark_class(spec.name).runs_code
    except MissingDependencyError:
        return False  # said by the versions


def _level(sandbox: Any) -> str:
    return str(getattr(sandbox, "name", None) or type(sandbox).__name__.lower())


def check_remote_code(study: Study, checkpoints: Mapping[str, Checkpoint]) -> Iterator[Finding]:
    """Code that comes with a checkpoint."""
    for name, variant in study.variants.items():
        asks = "auto_map" in checkpoints[name].config() if name in checkpoints else False
        if variant.engine.trust_remote_code:
            yield warning(
                f"model {name}",
                "trust_remote_code is on: the checkpoint's own code runs on this host with your rights",
                "leave it off unless the model cannot be loaded without; pin 'revision' and read the code",
            )
        elif asks:
            yield warning(
                f"model {name}",
                "the checkpoint brings code of its own (auto_map), which stays off",
                "if loading fails for it, set trust_remote_code: true after reading the code",
            )


def budget(study: Study) -> int:
    """The longest answer with a prompt of some length, in tokens."""
    return max(spec.protocol.max_tokens for spec in study.benchmarks) + 2048
