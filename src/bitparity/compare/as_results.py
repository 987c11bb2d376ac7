"""A comparison in the form of a run's results, so that it gets the same page, report and decision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bitparity import __version__
from bitparity.compare import schema
from bitparity.compare.compare import counterpart
from bitparity.compare.records import ItemResult, Results, Source, sheet_of
from bitparity.records import Item, Prompt
from bitparity.results.build import score_of, variant_entry
from bitparity.results.decision import decisions
from bitparity.results.schema import SCHEMA, Benchmark, Comparison, Overall, StudyHeader, VariantEntry
from bitparity.results.schema import Results as Document
from bitparity.results.sheet import Sheet, subsets


def as_results(outcome: schema.Outcome, sources: Sequence[Source]) -> Document:
    """The outcome of comparing `sources` (arranged, the baseline first) as the document of a run.

    What another filter or grader gives for the same answers is a further metric of the benchmark, not a benchmark.
    """
    benchmarks = {
        name: _benchmark(name, entry, outcome, sources)
        for name, entry in outcome.benchmarks.items()
        if entry.view_of is None
    }
    made = Document(
        schema=SCHEMA,
        study=_header(outcome, sources),
        variants={source.label: _variant(source, outcome.variants[source.label]) for source in sources},
        benchmarks=benchmarks,
        overall={label: Overall.pick(dict(pooled)) for label, pooled in outcome.overall.items()},
    )
    return made.model_copy(update={"decisions": decisions(made)})


def _header(outcome: schema.Outcome, sources: Sequence[Source]) -> StudyHeader:
    names = ", ".join(source.label for source in sources)
    made = {"version": __version__, "command": outcome.command} if outcome.command else {}
    return StudyHeader(name=names, fingerprint="", profile="", limit={}, **made)


def sheets_of(name: str, sources: Sequence[Source]) -> dict[str, Sheet]:
    """Each source's answers to the items that the baseline (the first) has of a benchmark, in the baseline's order.

    Of a source without the benchmark every sample is unscored.
    """
    own = sources[0].benchmarks[name]
    return {source.label: _sheet(own, counterpart(name, sources[0], source)) for source in sources}


def items_of(name: str, baseline: Source) -> list[Item]:
    """The questions with their references, as far as the baseline's source tells them."""
    results = baseline.benchmarks[name]
    if baseline.run is not None:
        return [entry.item for entry in baseline.run.exams[results.benchmark].items]
    return [_item(item) for item in results.items.values()]


def _item(item: ItemResult) -> Item:
    prompts = (Prompt(text=item.question or ""),)
    return Item(item.name, prompts, item.reference, group=item.group, subgroup=item.subgroup)


def _sheet(own: Results, theirs: Results | None) -> Sheet:
    found, numbers = ({}, []) if theirs is None else (theirs.items, theirs.sample_numbers())
    names = [item.name for item in own.items.values()]
    return sheet_of(names, [found.get(key) for key in own.items], numbers, len(own.sample_numbers()))


def _variant(source: Source, about: schema.Compared) -> VariantEntry:
    roles = {"baseline": about.baseline, "control": about.control}
    if source.run is not None:
        found = variant_entry(source.run.study, source.run.run.environment(), source.run.name)
        return found.model_copy(update=roles)
    # nothing is known of what answered but where its results lie
    facts = {"revision": None, "identity": None, "engine": {"engine": source.kind}, "generation": None}
    return VariantEntry.pick({"model": source.given, "earlier_engines": [], **facts, **roles})


def _benchmark(name: str, entry: schema.Benchmark, outcome: schema.Outcome, sources: Sequence[Source]) -> Benchmark:
    sheets = sheets_of(name, sources)
    items = list(sources[0].benchmarks[name].items.values())
    groups = None if all(item.group is None for item in items) else [item.group or item.name for item in items]
    scores = {label: score_of(sheet, groups, with_texts=True) for label, sheet in sheets.items()}
    for metric, means in _metrics(name, entry, outcome, sources):
        for label, mean in means.items():
            scores[label].metrics[metric] = mean
    compared = {label: _comparison(each) for label, each in entry.comparisons.items()}
    return Benchmark(
        status="measured",
        reason=None,
        metric=entry.metric or "",
        items=entry.items,
        samples=len(sources[0].benchmarks[name].sample_numbers()),
        margin=entry.margin,
        data={"margin": entry.margin_from},
        scores=scores,
        comparisons=compared,
        subgroups=subsets([item.subgroup for item in items], sheets),
        guards=entry.guards,
    )


def _metrics(
    name: str, entry: schema.Benchmark, outcome: schema.Outcome, sources: Sequence[Source]
) -> Iterator[tuple[str, Mapping[str, float | None]]]:
    """The means by each filter or grader of the same answers, the primary one first; none where there is only one."""
    views = {view: found for view, found in outcome.benchmarks.items() if found.view_of == name}
    for bench, found in {name: entry, **views}.items() if views else ():
        yield found.metric or bench, {label: sheet.mean() for label, sheet in sheets_of(bench, sources).items()}


def _comparison(found: schema.Comparison) -> Comparison:
    return Comparison.pick(dict(found), flips=(found.lost + found.gained) / found.items)
