"""Reading of the baseline's answers by the variants of a run, while their engines are loaded."""

from __future__ import annotations

import time
from collections.abc import Sequence

from bitparity.distance.reader import Readers, RunEngine
from bitparity.distance.texts import Answer, answers_of, other_tokens, own_texts
from bitparity.engines.readings import TOP
from bitparity.engines.registry import engine_of
from bitparity.errors import DataError, ModelError
from bitparity.exam.frozen import Exam, samples_asked
from bitparity.exam.spot_check import shares
from bitparity.generation.prepare import Prepared
from bitparity.generation.session import Session
from bitparity.models.checkpoint import context_length
from bitparity.progress.events import Noted, PhaseChanged
from bitparity.schema import BenchmarkSpec, DistanceSpec
from bitparity.store.environment import ReadRecord

LEAST, MOST = 100, 1000  # answers that are read where the study names no number
SHARE = 10  # and one of so many answers of a variant: reading is faster than writing, and costs a few per cent so
READING = "reading the baseline's answers"


def readings_waiting(prepared: Prepared) -> list[str]:
    """The variants that still have some of the baseline's stored answers to read, the baseline first."""
    readers = open_readers(prepared)
    if readers is None:
        return []
    study = prepared.study
    return [
        name for name in (study.baseline, *study.candidates) if readers.waiting(name) and comparable(prepared, name)
    ]


def read_answers(session: Session, name: str, run_engine: RunEngine) -> None:
    """Have a variant's engine read what is there of the baseline's answers and was not read yet.

    Nothing is done for the control, and while the baseline lacks answers. Raises EngineError where the engine fails.
    """
    prepared = session.prepared
    readers = None if prepared.study.variants[name].control else open_readers(prepared)
    if readers is None or not comparable(prepared, name):
        return
    for reader in readers.waiting(name):
        missing = readers.missing(reader)
        session.events.emit(PhaseChanged(name, READING))
        started = time.monotonic()
        with session.events.task(f"{reader}: {READING}", len(missing), "answers") as advance:
            reason = readers.read(reader, run_engine, advance)
        record_read(session, reader, missing, time.monotonic() - started, reason)
        if reason is not None:
            return


def record_read(session: Session, reader: str, missing: Sequence[Answer], seconds: float, reason: str | None) -> None:
    """Record what a reader has read of the answers that it lacked, and tell the reason where it gave up."""
    prepared = session.prepared
    readers = open_readers(prepared)
    assert readers is not None  # it has just read
    record = prepared.environment.distance.setdefault(reader, ReadRecord())
    record.reason = reason
    record.seconds = round(record.seconds + seconds, 3)
    # counted from what is stored, since an engine may have failed in the middle
    left = {(answer.benchmark, *answer.key) for answer in readers.missing(reader)}
    read = [answer for answer in missing if (answer.benchmark, *answer.key) not in left]
    record.answers += len(read)
    record.tokens += sum(len(answer.ids) for answer in read)
    prepared.save_environment()
    if reason is not None:
        note_unread(session, reader, reason)


def note_unread(session: Session, name: str, reason: str) -> None:
    """Record and tell why a variant could not read; its answers stand as they are."""
    session.prepared.environment.distance.setdefault(name, ReadRecord()).reason = reason
    session.prepared.save_environment()
    session.events.emit(Noted(f"{name}: its distance from the baseline could not be measured: {reason}"))


def comparable(prepared: Prepared, name: str) -> bool:
    """True if the variant's tokenizer makes the baseline's tokens of the answers; else the reason is recorded."""
    study, own = prepared.study, prepared.models[name].renderer
    readers = open_readers(prepared)
    if name == study.baseline or readers is None:
        return True
    reason = "it has no tokenizer here: give the variant the key 'tokenizer'" if own is None else None
    if own is not None and own is not prepared.models[study.baseline].renderer:
        reason = other_tokens(readers.answers, own)
    if reason is not None:
        prepared.environment.distance.setdefault(name, ReadRecord()).reason = reason
        prepared.save_environment()
    return reason is None


def open_readers(prepared: Prepared) -> Readers | None:
    """The readers and their answers; None where nothing is read, in a shard, or while the baseline lacks answers."""
    study = prepared.study
    spec, renderer = study.distance, prepared.models[study.baseline].renderer
    if spec is None or prepared.shard is not None or renderer is None:
        return None
    if prepared.readers is None and _answered(prepared):
        prepared.readers = _made(prepared, spec, _answers(prepared, spec))
    return prepared.readers


def set_texts(prepared: Prepared, texts: Sequence[tuple[str, str]]) -> None:
    """Have the user's own texts read in the place of answers: (prompt, text), the prompt perhaps empty.

    Raises ModelError without a tokenizer of the baseline, DataError where no text has two tokens.
    """
    study = prepared.study
    model = prepared.models[study.baseline]
    if model.renderer is None:
        raise ModelError(f"variant '{study.baseline}' has no tokenizer here; give it the key 'tokenizer'")
    limits = [variant.engine.max_model_len for variant in study.variants.values()]
    lengths = [*limits, None if model.folder is None else context_length(model.folder)]
    answers = own_texts(texts, model.renderer, min((n for n in lengths if n is not None), default=None))
    if not answers:
        raise DataError("no text has two tokens or more: nothing can be read")
    prepared.readers = _made(prepared, study.distance or DistanceSpec(), answers)


def _made(prepared: Prepared, spec: DistanceSpec, answers: Sequence[Answer]) -> Readers:
    study = prepared.study
    kinds = {study.variants[name].engine.kind for name in (study.baseline, *study.candidates)}
    whole = len(kinds) == 1 and engine_of(study.variants[study.baseline].engine).reads == "vocabulary"
    counted = isinstance(spec.top_k, int)
    beside = study.variants[study.baseline].model_dump(mode="json") if whole and not counted else None
    top = spec.top_k if isinstance(spec.top_k, int) else TOP
    return Readers(prepared.run, study.baseline, answers, top, beside)


def _answered(prepared: Prepared) -> bool:
    """True once the baseline has every answer that can be read."""
    name = prepared.study.baseline
    return all(
        len(prepared.done(name, spec.name)) >= len(exam.items) * samples_asked(exam, spec)
        for spec, exam in _written(prepared)
    )


def _written(prepared: Prepared) -> list[tuple[BenchmarkSpec, Exam]]:
    """The benchmarks whose answers are written, with their exams; of those that build on answers nothing is read."""
    return [(spec, exam) for spec, exam in prepared.asked if exam.rendered and not exam.chained and _count(exam)]


def _count(exam: Exam) -> int:
    """The items whose answers are written."""
    return sum(any(not prompt.continuations for prompt in entry.item.prompts) for entry in exam.items)


def _answers(prepared: Prepared, spec: DistanceSpec) -> Sequence[Answer]:
    baseline = prepared.study.baseline
    renderer = prepared.models[baseline].renderer
    assert renderer is not None  # `open_readers` has looked
    parts = {bench.name: (bench, exam) for bench, exam in _written(prepared)}
    available = {name: _count(exam) * samples_asked(exam, bench) for name, (bench, exam) in parts.items()}
    most = spec.items or min(MOST, max(LEAST, sum(available.values()) // SHARE))
    return [
        answer
        for name, count in shares(available, most).items()
        for answer in answers_of(
            parts[name][1], parts[name][0], prepared.run.samples(baseline, name), baseline, renderer, count
        )
    ]
