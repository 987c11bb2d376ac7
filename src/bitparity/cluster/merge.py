"""Merge of run directories: one study answered in parts on machines that do not know of each other."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import MissingDependencyError, RunError, UnavailableError
from bitparity.exam.frozen import Exam, load_if_frozen
from bitparity.exam.spot_check import answers_of_items, drawn_for
from bitparity.grading.fingerprint import grader_fingerprint
from bitparity.models.identity import differing
from bitparity.records import Grade, SampleKey, SampleKeys
from bitparity.schema import BenchmarkSpec, Study
from bitparity.store import environment as env
from bitparity.store.jsonl import AppendLog, write_atomically, write_records
from bitparity.store.rows import grade_to_row, scan_samples
from bitparity.store.run import Run, WritableRun, study_difference

LINES_AT_ONCE = 1000  # written by one call
SUMS: dict[str, type[env.Generation | env.Loads]] = {"generation": env.Generation, "loads": env.Loads}
SHOWN = 3  # names in a message


@dataclass(slots=True)
class Merged:
    """The outcome of a merge: samples taken over, and by (variant, benchmark) those that are still missing and all."""

    taken: int = 0
    missing: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)
    """The shards, like "3/8", that none of the directories holds."""


def merge(out: Path, shards: Sequence[Path]) -> Merged:
    """Join run directories of one study in `out`, which is made or added to; nothing of it is ever rewritten.

    A sample that several hold must be the same in all but its seconds. Raises RunError, before anything is written,
    where studies, exams, checkpoints or samples differ, by name.
    """
    runs = [Run(path) for path in shards]
    study = _one_study(runs)
    with WritableRun(out, study) as target:
        sources: list[Run] = [target, *runs]
        environment = _joined(target, runs)
        shared = ((spec, _one_exam(sources, spec.name)) for spec in study.benchmarks)
        exams = [(spec, exam) for spec, exam in shared if exam is not None]
        asked: dict[tuple[str, str], int] = {}
        for variant in study.variants:
            drawn = drawn_for(study, variant, exams)
            asked |= {(variant, spec.name): answers_of_items(exam, spec, drawn) for spec, exam in exams}
        for variant, benchmark in asked:
            # all of it is checked before any of it is written
            _check_doubles(sources, variant, benchmark)
        for spec, _ in exams:
            place, found = target.exam_path(spec.name), (run.exam_path(spec.name) for run in runs)
            if not place.exists():
                source = next(path for path in found if path.exists())
                write_atomically(place, [source.read_text(encoding="utf-8", errors="surrogatepass")])
        merged = Merged()
        for (variant, benchmark), count in asked.items():
            merged.taken += _take_over(target, runs, variant, benchmark)
            if missing := count - len(target.done(variant, benchmark)):
                merged.missing[variant, benchmark] = missing, count
        for spec, _ in exams:
            _take_grades(sources, study, spec)
        # last: a merge that was killed before is done again, and counts no session twice
        target.update_environment(environment)
        merged.absent = _absent(environment.merged)
        return merged


def _one_study(runs: Sequence[Run]) -> Study:
    first, *others = [(run, run.study()) for run in runs]
    for run, study in others:
        if study.fingerprint() != first[1].fingerprint():
            raise RunError(
                f"{run.path} is a run of another study than {first[0].path} ({study_difference(first[1], study)}); "
                "only shards of one study can be merged"
            )
    return first[1]


def _one_exam(runs: Sequence[Run], benchmark: str) -> Exam | None:
    """The exam that all have; None where none has one."""
    found = [(run, exam) for run in runs if (exam := load_if_frozen(run, benchmark)) is not None]
    for run, exam in found:
        if exam.sha256 != found[0][1].sha256:
            raise RunError(
                f"{run.path} and {found[0][0].path} have different exams of {benchmark}: their data or chat templates "
                "differ, so their answers do not belong together; run one of them anew with the other's files"
            )
    return found[0][1] if found else None


def _check_doubles(runs: Sequence[Run], variant: str, benchmark: str) -> None:
    """Raise RunError where two runs hold different samples of the same item."""
    # first which keys are double, with one bit for each: only their answers are then held in memory
    seen, doubled = SampleKeys(), SampleKeys()
    for run in runs:
        for key in (own := run.done(variant, benchmark)):
            if key in seen:
                doubled.add(key)
        seen |= own
    known: dict[SampleKey, tuple[Run, dict[str, Any]]] = {}
    differing = []
    for run in runs if doubled else ():
        stored = scan_samples(run.samples_path(variant, benchmark))
        for found in (s for s in stored if not s.failed and s.key in doubled):
            row = json.loads(found.line)
            # how long an answer took is no part of it
            content = {name: value for name, value in row.items() if name not in ("seconds", "crc32")}
            other, before = known.setdefault(found.key, (run, content))
            if before != content:
                differing.append(f"{found.key[0]}#{found.key[1]} in {other.path} and {run.path}")
    if differing:
        more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise RunError(
            f"{variant} on {benchmark}: different answers to the same question: {'; '.join(differing[:SHOWN])}{more}. "
            "Leave one of the two directories out: which answer counts must not be decided by chance"
        )


def _take_over(target: WritableRun, runs: Sequence[Run], variant: str, benchmark: str) -> int:
    """Append the samples that the target lacks; their number."""
    have, taken = target.done(variant, benchmark), 0
    with closing(AppendLog(target.samples_path(variant, benchmark), target.write)) as log:
        for run in runs:
            fresh = _new_lines(run.samples_path(variant, benchmark), have)
            while lines := list(islice(fresh, LINES_AT_ONCE)):
                log.append_lines(lines)
                taken += len(lines)
    return taken


def _new_lines(path: Path, have: SampleKeys) -> Iterator[bytes]:
    """The stored lines of samples that are not in `have` and did not fail; they are put in."""
    for found in scan_samples(path):
        # the failed are left out: they are asked again, and one of another part may be whole
        if not found.failed and found.key not in have:
            have.add(found.key)
            yield found.line


def _take_grades(sources: Sequence[Run], study: Study, spec: BenchmarkSpec) -> None:
    """Keep the grades that the present grader made, wherever: what is left is graded after the merge.

    `sources` begin with the target. What a benchmark needs and lacks on this machine is told by the grading itself.
    """
    try:
        fingerprint = grader_fingerprint(load_benchmark(spec))
    except (UnavailableError, MissingDependencyError):
        return
    for variant in study.variants:
        headers = {run.path: run.grades_header(variant, spec.name) for run in sources}
        current = [run for run in sources if headers[run.path].get("grader") == fingerprint]
        grades: dict[SampleKey, Grade] = {}
        for run in current:
            own = run.grades(variant, spec.name)
            grades |= {key: grade for key, grade in own.items() if grade.score is not None and key not in grades}
        if grades:
            rows = [headers[current[0].path], *(grade_to_row(key, grade) for key, grade in grades.items())]
            sources[0].write(partial(write_records, sources[0].grades_path(variant, spec.name), rows))


def _joined(target: Run, runs: Sequence[Run]) -> env.RunRecord:
    """The environment of the whole: every engine's facts, summed times, and what was merged.

    What a directory brought the last time is subtracted, so that merging it again, grown or not, counts it once.
    """
    environment = target.environment()
    for run in runs:
        own = run.environment()
        source: dict[str, int | str] = {**own.shard} if own.shard else {"path": str(run.path.resolve())}
        part = next((m for m in environment.merged if m.source == source), None)
        if part is None:
            part = env.MergedPart(source=source, counts={})
            environment.merged.append(part)
        for name, stored in own.variants.items():
            joined = environment.variants.setdefault(name, env.VariantRecord(identity=stored.identity, engines=[]))
            if changed := differing(joined.identity, stored.identity):
                raise RunError(
                    f"variant '{name}' of {run.path} is another checkpoint than that of the other directories "
                    f"({', '.join(changed)} differ); its answers do not belong to this run"
                )
            for engine in stored.engines:
                env.join_engine(joined.engines, engine)
            joined.exam |= stored.exam
            joined.sampling |= stored.sampling
            for benchmark, values in stored.sent.items():
                env.join_sent(joined.sent.setdefault(benchmark, []), values)
            _add_counts(joined, _counts(stored), part.counts.get(name, {}))
            part.counts[name] = _counts(stored)
        for key in env.INVOCATION:
            if getattr(environment, key) is None:
                setattr(environment, key, getattr(own, key))
        environment.not_run = own.not_run | environment.not_run
    return environment


def _absent(merged: Sequence[env.MergedPart]) -> list[str]:
    """The shards that nothing was merged of."""
    held = {(int(m.source["index"]), int(m.source["of"])) for m in merged if "of" in m.source}
    return [f"{i}/{of}" for of in sorted({of for _, of in held}) for i in range(1, of + 1) if (i, of) not in held]


def _counts(record: env.VariantRecord) -> env.Counts:
    """The sums over all sessions that a merge adds up: by `generation` and `loads`, those that are there."""
    found = {key: getattr(record, key) for key in SUMS}
    return {key: value.model_dump(mode="json") for key, value in found.items() if value is not None}


def _add_counts(record: env.VariantRecord, more: env.Counts, less: env.Counts) -> None:
    """Add the sums `more` of another directory, less those that it brought before. An unknown part is unknown."""
    for key, values in more.items():
        total = {**dict.fromkeys(values, 0), **_counts(record).get(key, {})}
        for unit, value in values.items():
            now, before = total[unit], less.get(key, {}).get(unit, 0)
            if now is None or value is None or before is None:
                total[unit] = None
            else:
                total[unit] = round(now + value - before, 3)
        setattr(record, key, SUMS[key].model_validate(total))
