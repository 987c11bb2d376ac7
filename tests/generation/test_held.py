"""Requests of the next block, held back while the last answers of a block are under way that will stop a benchmark."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
import yaml
from support import replay_study

from bitparity import runner
from bitparity.benchmarks.math500 import Math500
from bitparity.generation import stops
from bitparity.generation.background import BackgroundJobs
from bitparity.generation.local import LocalExecutor
from bitparity.progress.events import Events, Noted
from bitparity.records import Request, Sample, request_key
from bitparity.study.resolve import load_study

COUNT, BLOCK = 1200, 120
LATE = 150  # answers that end before one of the slow ones does, if so many are asked
WRONG = {"bf16": range(0, COUNT, 7), "worse": [n for n in range(COUNT) if n % 7 == 0 or n % 3 == 1]}


class Engines:
    """Engines that answer at once, but for one request in 50."""

    def __init__(self) -> None:
        self.asked: dict[str, list[Request]] = {}

    def ahead(self, variant: Any, log: Path) -> Any:
        return SimpleNamespace(launch=lambda: None, warm=lambda: None)

    def start(self, variant: Any, log: Path) -> Engine:
        return Engine(log.stem, self.asked.setdefault(log.stem, []))


class Engine:
    facts: dict[str, Any] = {}  # noqa: RUF012
    on_progress = on_sent = None

    def __init__(self, name: str, asked: list[Request]) -> None:
        self._wrong, self._asked = set(WRONG[name]), asked

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self, at_once: bool = False) -> None:
        pass

    def run(self, requests: Iterable[Request | None]) -> Iterator[list[Sample]]:
        inbox: queue.Queue[Request | None] = queue.Queue(1)
        threading.Thread(target=self._send, args=(requests, inbox), daemon=True).start()
        slow: list[tuple[int, Request]] = []
        while True:
            try:
                request = inbox.get(timeout=0.2)
            except queue.Empty:  # nothing more is sent: the slow ones end
                yield [self._answer(slow.pop(0)[1])] if slow else []
                continue
            if request is None:
                break
            self._asked.append(request)
            while slow and slow[0][0] + LATE < len(self._asked):
                yield [self._answer(slow.pop(0)[1])]
            if len(self._asked) % 50 == 0:
                slow.append((len(self._asked), request))
            else:
                yield [self._answer(request)]
        for _, request in slow:
            yield [self._answer(request)]

    def _send(self, requests: Iterable[Request | None], inbox: queue.Queue[Request | None]) -> None:
        for request in requests:
            if request is not None:
                inbox.put(request)
        inbox.put(None)

    def _answer(self, request: Request) -> Sample:
        number = int(Path(request.item).stem)
        text = f"\\boxed{{{2 * number + (number in self._wrong)}}}"
        return Sample(*request_key(request), text, "stop", 10, 10, 1.0)


@pytest.mark.parametrize(("likely", "asked"), [(stops.LIKELY, range(BLOCK, BLOCK + 20)), (2.0, range(200, 400))])
def test_the_next_block_waits_for_a_look_that_will_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, likely: float, asked: range
) -> None:
    one_at_a_time, engines = threading.RLock(), Engines()

    def at_once(jobs: BackgroundJobs, job: Callable[[], None]) -> None:
        with one_at_a_time:
            job()

    monkeypatch.setattr(BackgroundJobs, "put", at_once)
    monkeypatch.setattr(Math500, "slow_grader", False)
    monkeypatch.setattr(stops, "LIKELY", likely)
    monkeypatch.setattr(runner, "_open_executor", lambda ray: nullcontext(LocalExecutor(engines)))  # type: ignore[arg-type]
    path = replay_study(tmp_path, COUNT, WRONG)
    study = yaml.safe_load(path.read_text())
    study["benchmarks"][0] |= {"margin": 6.0, "form": "chat"}
    path.write_text(yaml.safe_dump({**study, "stop_early": True}))
    noted: list[str] = []
    listen = lambda event: noted.append(event.text) if isinstance(event, Noted) else None  # noqa: E731
    runner.run_study(load_study(path), tmp_path / "run", Events(listen))
    assert any(f"worse: math500 stopped after {BLOCK} of" in text for text in noted)
    assert len(engines.asked["bf16"]) == COUNT
    assert len(engines.asked["worse"]) in asked
