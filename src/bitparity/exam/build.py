"""Construction of an exam from a benchmark's data.

The first run builds it with the baseline's tokenizer and chat template and stores, for each item, the
messages, the prompt's text and the hash of its tokens. Any later rendering, by another variant or by a
later process, must give the same tokens or is refused with the difference shown: see `exam/requests.py`.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence

from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError
from bitparity.exam.chains import first_of_chains
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.exam.looks import block_of, stop_rule
from bitparity.exam.rendering import Renderer
from bitparity.models.tokenizer import Rendered
from bitparity.records import Item
from bitparity.schema import BenchmarkSpec, ReasoningSpec, Study


def build_exam(
    spec: BenchmarkSpec, renderer: Renderer | None, study: Study | None = None, *, timed: bool = False
) -> Exam:
    """Build one exam from the benchmark's data.

    Items are put in the order of a hash of their ids, so that a limit is a fair subset and a prefix of the
    full run; lm-eval tasks keep lm-eval's order. Items that come one after another stay together, so that
    a limit never takes one without those before it. Where a benchmark of the `study` may stop early, the study's name
    is in the hash of the order in which its items are asked: error rates are over orders, and studies must not share
    one. So it is for tasks with an order of their own where the run is `timed` and may end before all is asked. Raises
    DataError where there is no item or an id repeats.
    """
    benchmark = load_benchmark(spec)
    items = list(benchmark.items())
    _check_ids(items, spec.name)
    provenance = benchmark.provenance()
    available = provenance.get("available", len(items))  # a benchmark that limits by itself says how many it had
    assert isinstance(available, int)
    if not benchmark.fixed_order:
        first = first_of_chains(items)
        items = sorted(items, key=lambda item: digest(f"{spec.name}\0{first[item.id]}"))
        items = items[: spec.limit]
    stop = None
    if study is not None and (spec.stop_early or (timed and benchmark.fixed_order)):
        items = in_blocks(items, f"{study.name}\0{spec.name}")
        stop = stop_rule(study, spec, items)
    reasoning = spec.protocol.reasoning
    notes = set() if renderer is None else _ignored_arguments(spec, renderer)
    notes |= set(benchmark.notes())
    entries = tuple(_exam_item(item, spec, renderer, notes) for item in items)
    return Exam(
        benchmark=spec.name,
        metric=benchmark.metric,
        sampling=spec.protocol.sampling(benchmark.task_settings()),
        seed=spec.protocol.seed,
        reasoning_end=reasoning.end if isinstance(reasoning, ReasoningSpec) else None,
        items=entries,
        available=available,
        provenance=provenance,
        notes=tuple(sorted(notes)),
        stop=stop,
    )


def in_blocks(items: Sequence[Item], salt: str) -> list[Item]:
    """The items in another order by hash; those that may not be parted stay together, in their own order."""
    blocks = {item.id: block for item, block in zip(items, block_of(items), strict=True)}
    return sorted(items, key=lambda item: (digest(f"{salt}\0{blocks[item.id]}"), blocks[item.id]))


def _ignored_arguments(spec: BenchmarkSpec, renderer: Renderer) -> set[str]:
    """Notes on the chat template's arguments that it never looks at."""
    names = renderer.unused_template_args(spec.protocol) if spec.protocol.apply_chat_template else []
    return {f"the chat template never looks at '{n}' of chat_template_args: setting it changes nothing" for n in names}


def _check_ids(items: Sequence[Item], name: str) -> None:
    if not items:
        raise DataError(f"benchmark '{name}' has no items; check its data file")
    twice, count = Counter(item.id for item in items).most_common(1)[0]
    if count > 1:
        raise DataError(f"benchmark '{name}': item id '{twice}' occurs twice; ids must be unique")


def _exam_item(item: Item, spec: BenchmarkSpec, renderer: Renderer | None, notes: set[str]) -> ExamItem:
    """An item with its prompts as the model sees them; adds to `notes` what the template did not take."""
    if renderer is None:
        return ExamItem(item)
    rendered = [renderer.render_once(prompt, spec.protocol) for prompt in item.prompts]
    notes |= {note for r in rendered for note in r.notes}
    texts, hashes = tuple(r.text for r in rendered), tuple(map(token_hash, rendered))
    return ExamItem(item, texts, hashes, max(map(_longest, rendered)))


def _longest(rendered: Rendered) -> int:
    """Tokens of the longest input that the prompt makes, continuations included."""
    scored = rendered.scored or ()
    return max([len(rendered.token_ids), *(len(context) + len(rest) for context, rest in scored)])


def token_hash(rendered: Rendered) -> str:
    """SHA-256 over the token ids of a prompt and of its continuations, 32 hex digits."""
    digest = hashlib.sha256(array("q", rendered.token_ids).tobytes())
    for context, continuation in rendered.scored or ():
        digest.update(b"|" + array("q", context).tobytes() + b">" + array("q", continuation).tobytes())
    return digest.hexdigest()[:32]


def digest(text: str) -> bytes:
    """SHA-256 of a text: orders and seeds come from it, never from a process's own random state."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
