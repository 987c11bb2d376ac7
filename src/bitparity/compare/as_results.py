"""A comparison in the form of a run's results, so that it gets the same page, report and decision."""

from __future__ import annotations

from collections.abc import Sequence

from bitparity import __version__
from bitparity.compare import schema
from bitparity.compare.compare import counterpart
from bitparity.compare.records import Source, sheet_of
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
    names = ", ".join(source.label for source in sources)
    made_by = {"version": __version__, "command": outcome.command} if outcome.command else {}
    entries = {name: entry for name, entry in outcome.benchmarks.items() if entry.view_of is None}
    made = Document(
        schema=SCHEMA,
        study=StudyHeader(name=names, fingerprint="", profile="", limit={}, **made_by),
        variants={source.label: _variant(source, outcome.variants[source.label]) for source in sources},
        benchmarks={name: _benchmark(name, entry, outcome, sources) for name, entry in entries.items()},
        overall={label: Overall.pick(dict(pooled)) for label, pooled in outcome.overall.items()},
    )
    return made.model_copy(update={"decisions": decisions(made)})


def sheets_of(name: str, sources: Sequence[Source]) -> dict[str, Sheet]:
    """Each source's answers to the items that the baseline (the first) has of a benchmark, in the baseline's order.

    Of a source without the benchmark every sample is unscored.
    """
    own, sheets = sources[0].benchmarks[name], {}
    names, count = [item.name for item in own.items.values()], len(own.sample_numbers())
    for source in sources:
        theirs = counterpart(name, sources[0], source)
        found, numbers = ({}, []) if theirs is None else (theirs.items, theirs.sample_numbers())
        sheets[source.label] = sheet_of(names, [found.get(key) for key in own.items], numbers, count)
    return sheets


def items_of(name: str, baseline: Source) -> list[Item]:
    """The questions with their references, as far as the baseline's source tells them."""
    results = baseline.benchmarks[name]
    if baseline.run is not None:
        return [entry.item for entry in baseline.run.exams[results.benchmark].items]
    return [
        Item(item.name, (Prompt(text=item.question or ""),), item.reference, group=item.group, subgroup=item.subgroup)
        for item in results.items.values()
    ]


def _variant(source: Source, about: schema.Compared) -> VariantEntry:
    roles = {"baseline": about.baseline, "control": about.control}
    if source.run is not None:
        return variant_entry(source.run.study, source.run.run.environment(), source.run.name).model_copy(update=roles)
    # nothing is known of what answered but where its results lie
    facts = {"revision": None, "identity": None, "engine": {"engine": source.kind}, "generation": None}
    return VariantEntry.pick({"model": source.given, "earlier_engines": [], **facts, **roles})


def _benchmark(name: str, entry: schema.Benchmark, outcome: schema.Outcome, sources: Sequence[Source]) -> Benchmark:
    sheets = sheets_of(name, sources)
    items = list(sources[0].benchmarks[name].items.values())
    groups = None if all(item.group is None for item in items) else [item.group or item.name for item in items]
    scores = {label: score_of(sheet, groups, with_texts=True) for label, sheet in sheets.items()}
    views = {view: found for view, found in outcome.benchmarks.items() if found.view_of == name}
    # the means by each filter or grader of the same answers, the primary one first; none where there is only one
    for bench, found in {name: entry, **views}.items() if views else ():
        for label, sheet in sheets_of(bench, sources).items():
            scores[label].metrics[found.metric or bench] = sheet.mean()
    return Benchmark(
        status="measured",
        reason=None,
        metric=entry.metric or "",
        items=entry.items,
        samples=len(sources[0].benchmarks[name].sample_numbers()),
        margin=entry.margin,
        data={"margin": entry.margin_from},
        scores=scores,
        comparisons={
            label: Comparison.pick(dict(each), flips=(each.lost + each.gained) / each.items)
            for label, each in entry.comparisons.items()
        },
        subgroups=subsets([item.subgroup for item in items], sheets),
        guards=entry.guards,
    )
