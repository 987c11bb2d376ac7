"""Builder of results.json: scores, paired comparisons and guards of a run, as fractions.

Built from the files of a run alone, so it can be made again without a GPU.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitparity.exam.frozen import Exam, frozen_exams, groups_of, samples_asked
from bitparity.exam.spot_check import drawn_for
from bitparity.grading.fingerprint import graded_otherwise
from bitparity.records import output_tokens
from bitparity.results import schema
from bitparity.results.decision import decisions
from bitparity.results.distance import build_distance
from bitparity.results.execution import execution
from bitparity.results.guards import check as validity
from bitparity.results.guards.distance import NOT_READ
from bitparity.results.guards.suspects import IF_RIGHT, all_right, counted_for_candidate
from bitparity.results.sheet import Sheet, read_sheets, spot_check, subsets
from bitparity.results.verdicts import ComparisonKey, judge, pool_judged
from bitparity.schema import Study
from bitparity.stats import paired as stats
from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.stats.intervals import mean_interval
from bitparity.stats.looks import Reached, unbiased
from bitparity.stats.sequential import Look
from bitparity.stats.verdicts import Interval
from bitparity.store.environment import RunRecord
from bitparity.store.jsonl import write_json
from bitparity.store.run import Run

NOT_TOLD = "not told"  # stands for a reason in results without texts
MOST_REASONS = 5  # of samples without a score


def build(run: Run, *, with_texts: bool = True, said: Mapping[str, list[schema.Guard]] | None = None) -> schema.Results:
    """All results of a run; see `write` for texts. Raises RunError or StoreError where its files cannot be used.

    `said` has what the guards said, by benchmark, where the texts that they looked at are not there any more.
    """
    said, study, environment = said or {}, run.study(), run.environment()
    for variant in () if with_texts else environment.variants.values():
        for restart in variant.restarts:
            restart.reason = NOT_TOLD
    benchmarks: dict[str, schema.Benchmark] = {}
    pairs: dict[ComparisonKey, PairedScores] = {}
    favourable: dict[ComparisonKey, PairedScores] = {}
    answers: dict[str, Mapping[str, Sheet]] = {}
    frozen = list(frozen_exams(run, study))
    exams = {spec.name: exam for spec, exam in frozen}
    drawn = drawn_for(study, study.spot_check or "", frozen)
    for spec in study.benchmarks:
        exam = exams.get(spec.name)
        if exam is None or any(graded_otherwise(run, name, spec) for name in study.variants):
            reason = environment.not_run.get(spec.name, NOT_READ) if exam is None else schema.NOT_GRADED_AGAIN
            benchmarks[spec.name] = schema.Benchmark(status="not_run", reason=reason, margin=spec.margin_at(None))
            continue
        answers[spec.name] = sheets = read_sheets(run, study, exam, spec, texts=spec.name not in said)
        check = None if drawn is None else spot_check(run, study, exam, drawn[spec.name], sheets[study.baseline])
        facts = validity.Facts(study, spec, exam, sheets, environment, check)
        guards = list(_with_range(said[spec.name] if spec.name in said else validity.check(facts), facts))
        benchmarks[spec.name] = entry = _benchmark(run, facts, guards, with_texts=with_texts)
        for name, pair, bound in _paired(facts, entry):
            pairs[spec.name, name] = pair
            favourable |= {} if bound is None else {(spec.name, name): bound}
    overall = _judge(study, benchmarks, answers, pairs, favourable)
    made = schema.Results(
        schema=schema.SCHEMA,
        study=_header(study, environment),
        variants={n: variant_entry(study, environment, n) for n in study.variants if n != study.spot_check},
        benchmarks=benchmarks,
        overall=overall,
        distance=build_distance(run, study, environment, list(benchmarks)),
    )
    return made.model_copy(update={"decisions": decisions(made)})


def _header(study: Study, environment: RunRecord) -> schema.StudyHeader:
    """The study, with the day of the last engine's start and the version of bitparity, as far as they are known."""
    starts = [at for variant in environment.variants.values() for at in variant.sessions]
    told = {"date": max(starts, default="")[:10], "version": environment.bitparity or ""}
    limit = {spec.name: spec.limit for spec in study.benchmarks if spec.limit is not None}
    known = {key: value for key, value in told.items() if value}
    return schema.StudyHeader.made_from(study, fingerprint=study.fingerprint(), limit=limit, **known)


def _judge(
    study: Study,
    benchmarks: Mapping[str, schema.Benchmark],
    answers: Mapping[str, Mapping[str, Sheet]],
    pairs: Mapping[ComparisonKey, PairedScores],
    favourable: Mapping[ComparisonKey, PairedScores],
) -> dict[str, schema.Overall]:
    """Fill in the comparisons of the benchmarks; gives each variant's valid benchmarks pooled."""
    margins = {name: entry.margin for name, entry in benchmarks.items()}
    forbidden = {(bench, name): _forbidden(benchmarks[bench].guards, name, study.baseline) for bench, name in pairs}
    recoveries = {spec.name: spec.recovery for spec in study.benchmarks if spec.recovery is not None}
    judged = judge(pairs, margins, forbidden, study.control, favourable, recoveries)
    for (bench, name), each in judged.items():
        flips = (each.comparison.lost + each.comparison.gained) / each.comparison.items
        more: dict[str, object] = {"flips": flips, "control": name == study.control}
        if study.reference == "both" and study.control not in (None, name):
            more["reference"] = [study.baseline, study.control][: 1 if pairs[bench, name].second is None else 2]
        more |= _looked(pairs[bench, name], each.comparison, answers[bench][name].stop)
        benchmarks[bench].comparisons[name] = schema.Comparison.pick(each.values(), **more)
    pools = pool_judged(pairs, margins, judged, study.control)
    overall = {}
    for name in _compared(study):
        if (pool := pools.get(name)) is not None:
            more = {"of": len(benchmarks), "within_margin_on_all": pool.within_margin_on_all}
            overall[name] = schema.Overall.pick(pool.values(), control=name == study.control, **more)
    return overall


def _looked(pairs: PairedScores, found: stats.Comparison, stop: Reached | None) -> dict[str, object]:
    """The fields of a comparison that was looked at several times; empty for any other."""
    if pairs.look is None:
        return {}
    difference, ci95 = unbiased(pairs)
    fields: dict[str, object] = {"difference": difference, "ci95": ci95, "repeated_ci95": found.ci95}
    if stop is not None and stop.by is not None:
        rule = stop.look.rule
        fields["stopped"] = schema.Stopped(
            look=stop.look.index + 1,
            looks=len(rule.looks),
            items=stop.items,
            of=rule.items,
            by=stop.by,
            baseline=float(pairs.reference.mean()),
            candidate=float(pairs.candidate.mean()),
        )
    return fields


def _paired(facts: validity.Facts, entry: schema.Benchmark) -> Iterator[tuple[str, PairedScores, PairedScores | None]]:
    """The candidates with the scores to compare, and with those where doubted answers count for the candidate."""
    study, exam, sheets, items = facts.study, facts.exam, facts.sheets, facts.answers.items
    second = None if exam.stop else _second_run(study, entry, sheets)  # looks are at the first run alone
    for name in _compared(study):
        pair = _pair(exam, sheets, study, name, None if name == study.control else second)
        if pair is not None:
            forbidden = _forbidden(entry.guards, name, study.baseline)
            bound = counted_for_candidate(sheets[study.baseline], sheets[name], items, forbidden)
            # what was seen at earlier looks does not hold of the same items counted otherwise
            look = None if pair.look is None else replace(pair.look, before=())
            scores = None if bound is None else pair_scores(*bound, _first(exam, len(bound[0])))
            yield name, pair, None if scores is None else replace(scores, look=look)


def _first(exam: Exam, items: int) -> list[str] | None:
    """The groups of so many first items of an exam."""
    groups = groups_of(exam)
    return None if groups is None else groups[:items]


def _compared(study: Study) -> list[str]:
    """The candidates and, last, the control."""
    return [*study.candidates, *([study.control] if study.control else [])]


def variant_entry(study: Study, environment: RunRecord, name: str) -> schema.VariantEntry:
    """A variant of a study as it ran."""
    stored = environment.variant(name)
    engines = [entry.facts for entry in stored.engines]
    return schema.VariantEntry.made_from(
        study.variants[name],
        baseline=name == study.baseline,
        control=name == study.second_run,
        identity=stored.identity or None,
        engine=engines[-1] if engines else None,
        generation=stored.generation,
        earlier_engines=engines[:-1],
    )


def _second_run(study: Study, entry: schema.Benchmark, sheets: Mapping[str, Sheet]) -> Sheet | None:
    """The baseline's second run where the mean of both is the reference and no guard calls it invalid."""
    if study.control is None or study.reference == "first" or _forbidden(entry.guards, study.control, study.baseline):
        return None
    return sheets[study.control]


def _pair(
    exam: Exam, sheets: Mapping[str, Sheet], study: Study, candidate: str, second: Sheet | None
) -> PairedScores | None:
    """The items of which every sample of baseline and candidate has a score; None where there is none.

    The baseline's second run is left out where it lacks one of them: which questions are asked must not depend on it.
    """
    ours, theirs = sheets[study.baseline], sheets[candidate]
    if theirs.stop is not None:
        return theirs.stop.pairs
    whole = ours.whole() & theirs.whole()
    if not whole.any():
        return None
    again = second.scores[whole] if second is not None and second.whole()[whole].all() else None
    found = pair_scores(ours.scores[whole], theirs.scores[whole], _picked(groups_of(exam), whole), again)
    if exam.stop is None or candidate == study.control:
        return found
    return replace(found, look=Look(exam.stop, len(exam.stop.looks) - 1))  # not all is there: judged as at the end


def _benchmark(run: Run, facts: validity.Facts, guards: list[schema.Guard], *, with_texts: bool) -> schema.Benchmark:
    """Everything about one benchmark but its comparisons, which need those of the other benchmarks too."""
    exam, sheets = facts.exam, facts.sheets
    measured = any(sheet.graded for sheet in sheets.values())
    groups, asked = groups_of(exam), sheets[facts.study.baseline].asked
    left_out, reason = _left_out(facts.environment, len(exam.items), asked), "no variant has answered yet"
    more: dict[str, Any] = {"left_out": left_out, "spot_check": facts.spot_check}
    more["margin_recovery"] = facts.spec.recovery
    return schema.Benchmark(
        status="measured" if measured else "not_run",
        reason=None if measured else reason if left_out is None else left_out.reason,
        metric=exam.metric,
        items=asked,
        available=exam.available,
        samples=samples_asked(exam, facts.spec),
        margin=facts.answers.margin,
        data=exam.provenance,
        scores={name: score_of(sheet, groups, with_texts=with_texts) for name, sheet in sheets.items()},
        comparisons={},
        subgroups=subsets([entry.item.subgroup for entry in exam.items], sheets),
        guards=guards,
        **execution(run, facts.spec, exam, sheets),
        **{key: value for key, value in more.items() if value is not None},
    )


def _with_range(guards: Sequence[schema.Guard], facts: validity.Facts) -> Iterator[schema.Guard]:
    """The guards, those on single answers with what each candidate's difference would be if these were right."""
    exam, study, sheets = facts.exam, facts.study, facts.sheets
    items = [entry.item.id for entry in exam.items]

    @functools.cache  # a guard may speak of several variants, and each candidate is compared with the baseline
    def if_right(guard: str, name: str) -> Interval | None:
        before, after, whole = all_right(sheets[study.baseline], sheets[name], items, guard)
        if not whole.any():
            return None
        pairs = pair_scores(before[whole], after[whole], _picked(_first(exam, len(whole)), whole))
        return stats.difference_intervals(pairs, 0.05, stats.SEED, stats.RESAMPLES)[1]

    for guard in guards:
        concerned = [name for name in study.candidates if guard.variant in (None, study.baseline, name)]
        asked = [name for name in concerned if guard.name in IF_RIGHT and sheets[name].graded]
        told = {name: ci95 for name in asked if (ci95 := if_right(guard.name, name)) is not None}
        yield guard.model_copy(update={"if_right": told}) if told else guard


def _left_out(record: RunRecord, of: int, asked: int) -> schema.LeftOut | None:
    if record.hours is None or asked >= of:
        return None
    over = f"{record.hours.hours:g} hours were over after {asked:,} of {of:,} items"
    return schema.LeftOut(items=of - asked, of=of, reason=f"{over}; every variant is counted on these")


def _forbidden(guards: Sequence[schema.Guard], *variants: str) -> list[str]:
    """The names of the guards that make a comparison of these variants invalid."""
    return [guard.name for guard in guards if guard.forbids(*variants)]


def score_of(sheet: Sheet, groups: Sequence[str] | None, *, with_texts: bool) -> schema.Score:
    """The score of a variant's answers; `groups` names the group of each item, None where each is its own."""
    whole = sheet.whole()
    scored = sheet.scores[whole]
    ended = [s for s in sheet.samples.values() if s.finish != "error"]
    names = sorted({name for grade in sheet.grades.values() for name in grade.metrics})
    # part of a benchmark that its results have chosen has no score of its own; neither have samples of which no item is
    # whole: those that could be scored, such as cut-off programs without their tests, are no fair part
    partial = sheet.stopped or len(scored) == 0
    errors = _errors(sheet) if with_texts else +Counter({NOT_TOLD: _errors(sheet).total()})
    return schema.Score(
        mean=None if partial else sheet.mean(),
        ci95=None if partial else mean_interval(scored, groups=_picked(groups, whole)),
        no_answer=sheet.no_answer(),
        cut_off=sheet.cut_off(),
        unscored=sheet.unscored,
        errors=dict(errors.most_common(MOST_REASONS)),
        output_tokens=output_tokens(ended),
        seconds=round(sum(s.seconds for s in ended) / len(ended), 3) if ended else None,
        metrics={name: None if partial else sheet.metric(name) for name in names},
    )


def _errors(sheet: Sheet) -> Counter[str]:
    """Why samples have no score."""
    reasons = Counter(s.error or "unknown" for s in sheet.samples.values() if s.finish == "error")
    reasons += Counter(
        str(g.details.get("error", "unscored"))
        for key, g in sheet.grades.items()
        if g.score is None and key in sheet.samples and sheet.samples[key].finish != "error"
    )
    if sheet.missing:
        reasons["not answered yet"] = sheet.missing
    return reasons


def _picked(groups: Sequence[str] | None, mask: NDArray[np.bool_]) -> list[str] | None:
    return None if groups is None else [group for group, keep in zip(groups, mask, strict=True) if keep]


def write(run: Run, *, with_texts: bool = True) -> schema.Results:
    """Build results.json and write it beside the samples; returns its content.

    Without texts the reasons of failed samples and engines stay out: a server's or a grader's message may quote
    question or answer.
    """
    results = build(run, with_texts=with_texts)
    write_json(run.path / "results.json", results.document())
    return results
