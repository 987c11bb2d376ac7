"""Shards: one study on machines that do not know of each other, such as the tasks of a Slurm array, and their union.

Each shard is a run directory of its own with the whole exam and every Nth part of the answers; `merge` joins them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from bitparity.errors import RunError, UserInputError
from bitparity.exam.frozen import Exam, load_if_frozen, samples_asked
from bitparity.models.identity import differing
from bitparity.records import Request, SampleKey, SampleKeys
from bitparity.schema import Study
from bitparity.store.environment import INVOCATION, MergedPart, RunRecord, VariantRecord, join_engine, join_sent
from bitparity.store.jsonl import AppendLog, write_atomically
from bitparity.store.run import Run, WritableRun, study_difference

SHOWN = 3  # names in a message


SHARDS_FOLDER = "shards"


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` (1 to `of`) of a study's answers."""

    index: int
    of: int

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    def part(self, exam: Exam) -> Exam:
        """The exam with this shard's items only: every Nth chain of items that build on one another."""
        first: dict[str, str] = {}
        for entry in exam.items:
            first[entry.item.id] = entry.item.id if entry.item.after is None else first[entry.item.after]
        chains = {item: number for number, item in enumerate(dict.fromkeys(first.values()))}
        return replace(exam, items=tuple(e for e in exam.items if self._has(chains[first[e.item.id]])))

    def batches(self, requests: Iterable[Request], whole: Mapping[str, int]) -> list[Request]:
        """This shard's requests of those that an engine computes in fixed batches: every Nth batch.

        Batches of items that build on others mix their chains, so such a benchmark is not divided: `whole` has its
        number in the study, and every Nth of them is this shard's.
        """
        return [r for r in requests if self._has(whole.get(r.benchmark, r.batch or 0))]

    def has_benchmark(self, number: int) -> bool:
        """Whether a benchmark that is not divided, by its number in the study, is this shard's."""
        return self._has(number)

    def _has(self, number: int) -> bool:
        return number % self.of == self.index - 1


def parse_shard(text: str) -> Shard:
    """The shard that "I/N" names. Raises UserInputError."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserInputError(f"--shard '{text}' is no part of a whole; write 1/8 to 8/8 for eight shards")
    return Shard(int(found[1]), int(found[2]))


def shard_path(study: Study, shard: Shard) -> Path:
    """Where a shard lies by default."""
    return Path("artifacts") / study.name / SHARDS_FOLDER / f"{shard.index}-of-{shard.of}"


def claim(run: Run, environment: RunRecord, shard: Shard | None) -> None:
    """Note which shard a run directory holds. Raises RunError where it holds another, or is none."""
    asked = None if shard is None else asdict(shard)
    held = environment.shard
    if "variants" in environment.model_fields_set and held != asked:
        what = "all of the study" if held is None else f"shard {held['index']}/{held['of']}"
        raise RunError(f"{run.path} holds {what}; go on with it as it was begun, or give another folder with --out")
    if asked is not None:
        environment.shard = asked


@dataclass(slots=True)
class Merged:
    """What a merge did: samples taken over, and by (variant, benchmark) those that are still missing and all."""

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
        frozen = {spec.name: _one_exam(sources, spec.name) for spec in study.benchmarks}
        asked = {
            (variant, spec.name): len(exam.items) * samples_asked(exam, spec)
            for variant in study.variants
            for spec in study.benchmarks
            if (exam := frozen[spec.name]) is not None
        }
        for variant, benchmark in asked:
            _check_doubles(sources, variant, benchmark)
        for _, benchmark in asked:
            _copy_exam(target, runs, benchmark)
        merged = Merged()
        for (variant, benchmark), count in asked.items():
            merged.taken += _take_over(target, runs, variant, benchmark)
            if missing := count - len(target.done(variant, benchmark)):
                merged.missing[variant, benchmark] = missing, count
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
    found: tuple[Run, Exam] | None = None
    for run in runs:
        exam = load_if_frozen(run, benchmark)
        if exam is None:
            continue
        if found is not None and exam.sha256 != found[1].sha256:
            raise RunError(
                f"{run.path} and {found[0].path} have different exams of {benchmark}: their data or chat templates "
                "differ, so their answers do not belong together; run one of them anew with the other's files"
            )
        found = found or (run, exam)
    return None if found is None else found[1]


def _copy_exam(target: Run, runs: Sequence[Run], benchmark: str) -> None:
    place = target.exam_path(benchmark)
    if not place.exists():
        source = next(run.exam_path(benchmark) for run in runs if run.exam_path(benchmark).exists())
        write_atomically(place, [source.read_text(encoding="utf-8", errors="surrogatepass")])


def _check_doubles(runs: Sequence[Run], variant: str, benchmark: str) -> None:
    """Raise RunError where two runs hold different samples of the same item."""
    seen, doubled = SampleKeys(), SampleKeys()
    for run in runs:
        for key in (own := run.done(variant, benchmark)):
            if key in seen:
                doubled.add(key)
        seen |= own
    known: dict[SampleKey, tuple[Run, dict[str, Any]]] = {}
    differing = []
    for run in runs if doubled else ():
        for key, row in run.rows(variant, benchmark, doubled):
            content = {name: value for name, value in row.items() if name != "seconds"}
            other, before = known.setdefault(key, (run, content))
            if before != content:
                differing.append(f"{key[0]}#{key[1]} in {other.path} and {run.path}")
    if differing:
        more = f" and {len(differing) - SHOWN} more" if len(differing) > SHOWN else ""
        raise RunError(
            f"{variant} on {benchmark}: different answers to the same question: {'; '.join(differing[:SHOWN])}{more}. "
            "Leave one of the two directories out: which answer counts must not be decided by chance"
        )


def _take_over(target: WritableRun, runs: Sequence[Run], variant: str, benchmark: str) -> int:
    """Append what the target has not; the number of samples."""
    have, taken = target.done(variant, benchmark), 0
    log = AppendLog(target.samples_path(variant, benchmark))
    try:
        for run in runs:
            for lines in run.new_lines(variant, benchmark, have):
                log.append_lines(lines)
                taken += len(lines)
    finally:
        log.close()
    return taken


def _joined(target: Run, runs: Sequence[Run]) -> RunRecord:
    """The environment of the whole: every engine's facts, summed times, and what was merged.

    What a directory brought the last time is subtracted, so that merging it again, grown or not, counts it once.
    """
    environment = target.environment()
    for run in runs:
        own = run.environment()
        source: dict[str, int | str] = {**own.shard} if own.shard else {"path": str(run.path.resolve())}
        part = next((m for m in environment.merged if m.source == source), None)
        if part is None:
            part = MergedPart(source=source, counts={})
            environment.merged.append(part)
        for name, stored in own.variants.items():
            joined = environment.variants.setdefault(name, VariantRecord(identity=stored.identity, engines=[]))
            _check_identity(name, joined.identity, stored.identity, run)
            for engine in stored.engines:
                join_engine(joined.engines, engine)
            joined.exam |= stored.exam
            joined.sampling |= stored.sampling
            for benchmark, values in stored.sent.items():
                join_sent(joined.sent.setdefault(benchmark, []), values)
            before = part.counts.get(name, {})
            part.counts[name] = stored.counts()
            joined.add_counts(part.counts[name], before)
        for key in INVOCATION:
            if getattr(environment, key) is None:
                setattr(environment, key, getattr(own, key))
        environment.not_run = own.not_run | environment.not_run
    return environment


def _check_identity(name: str, one: Mapping[str, Any], other: Mapping[str, Any], run: Run) -> None:
    if changed := differing(one, other):
        raise RunError(
            f"variant '{name}' of {run.path} is another checkpoint than that of the other directories "
            f"({', '.join(changed)} differ); its answers do not belong to this run"
        )


def _absent(merged: Sequence[MergedPart]) -> list[str]:
    """The shards that nothing was merged of."""
    held = {(int(m.source["index"]), int(m.source["of"])) for m in merged if "of" in m.source}
    return [f"{i}/{of}" for of in sorted({of for _, of in held}) for i in range(1, of + 1) if (i, of) not in held]
