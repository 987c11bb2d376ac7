from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tiny_model import variant

from bitparity.engines.replay_engine import ReplayEngine
from bitparity.errors import ModelError
from bitparity.records import Request, Sample, Sampling


def write(path: Path, *rows: Any) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def ask(place: Path, *wanted: tuple[str, str, int]) -> list[Sample]:
    async def requests() -> AsyncIterator[Request]:
        for benchmark, item, sample in wanted:
            yield Request(benchmark, item, sample, Sampling(max_tokens=8), 0)

    async def collect() -> list[Sample]:
        return [s async for s in ReplayEngine(variant(place, "replay")).stream(requests())]

    return asyncio.run(collect())


def test_a_single_file_serves_any_benchmark(tmp_path: Path) -> None:
    file = write(tmp_path / "x.jsonl", {"item": "a", "text": "A", "tokens": 3, "finish": "length"})
    assert ask(file, ("m", "a", 0)) == [Sample("m", "a", 0, "A", "length", 3, None, 0.0)]


def test_a_folder_divides_by_file_name(tmp_path: Path) -> None:
    write(tmp_path / "math500.jsonl", {"item": "a", "text": "math"}, {"item": "a", "sample": 1, "text": "again"})
    write(tmp_path / "lm_eval__gsm8k.jsonl.gz", {"item": "a", "text": "gsm"})
    found = ask(tmp_path, ("math500", "a", 0), ("math500", "a", 1), ("lm_eval:gsm8k", "a", 0), ("aime24", "a", 0))
    assert [s.text for s in found] == ["math", "again", "gsm", ""]
    assert found[3].finish == "error"
    assert "item 'a' of aime24" in (found[3].error or "")


def test_log_likelihoods_and_errors_are_replayed(tmp_path: Path) -> None:
    file = write(
        tmp_path / "x.jsonl",
        {"item": "a", "logprobs": [[-1.5, True], [-2.0, False]]},
        {"item": "b", "finish": "error", "error": "too long"},
    )
    a, b = ask(file, ("m", "a", 0), ("m", "b", 0))
    assert a.logprobs == ((-1.5, True), (-2.0, False))
    assert (b.finish, b.error) == ("error", "too long")


def test_an_error_gives_way_to_an_answer(tmp_path: Path) -> None:
    answer, error = {"item": "a", "text": "A"}, {"item": "a", "finish": "error", "error": "lost"}
    for rows in ([answer, error], [error, answer], [answer, answer]):
        assert ask(write(tmp_path / "x.jsonl", *rows), ("m", "a", 0))[0].text == "A"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{", "line 2 is not valid JSON"),
        ("[]", "line 2 is no recorded sample: it is wrong: Input should be a valid dictionary"),
        ('{"text": "A"}', "is no recorded sample: 'item' is missing"),
        ('{"item": 3, "text": "A"}', "is no recorded sample: 'item' is wrong: Input should be a valid string"),
        ('{"item": "b"}', "line 2: it has neither 'text' nor 'logprobs'"),
        ('{"item": "b", "text": 4}', "is no recorded sample: 'text' is wrong: Input should be a valid string"),
        (
            '{"item": "b", "text": "", "finish": "done"}',
            "is no recorded sample: 'finish' is wrong: Input should be 'stop'",
        ),
        (
            '{"item": "b", "text": "", "sample": "1"}',
            "is no recorded sample: 'sample' is wrong: Input should be a valid integer",
        ),
        (
            '{"item": "b", "text": "", "sample": 1.5}',
            "is no recorded sample: 'sample' is wrong: Input should be a valid integer",
        ),
        (
            '{"item": "b", "text": "", "tokens": 1.5}',
            "is no recorded sample: 'tokens' is wrong: Input should be a valid integer",
        ),
        (
            '{"item": "b", "text": "", "tokens": 1e999}',
            "is no recorded sample: 'tokens' is wrong: Input should be a valid integer",
        ),
        (
            '{"item": "b", "text": "", "tokens": -1}',
            "sample: 'tokens' is wrong: Input should be greater than",
        ),
        (
            '{"item": "b", "text": "", "seconds": NaN}',
            "sample: 'seconds' is wrong: Input should be a finite",
        ),
        ('{"item": "b", "text": "", "logprobs": [[1]]}', "is no recorded sample: 'logprobs' is wrong:"),
        ('{"item": "a", "text": "other"}', "line 2: item 'a', sample 0 was recorded before, differently"),
        ('{"item": "b", "text": "\udcff"}', "line 2 is not valid JSON"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b'{"item": "a", "text": "A"}\n' + line.encode("utf-8", "surrogateescape") + b"\n")
    with pytest.raises(ModelError, match=r"x\.jsonl line 2") as caught:
        ReplayEngine(variant(file, "replay"))
    assert words in str(caught.value)


def test_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no \.jsonl"):
        ReplayEngine(variant(tmp_path, "replay"))
    with pytest.raises(ModelError, match="do not exist"):
        ReplayEngine(variant(tmp_path / "gone", "replay"))
    broken = tmp_path / "x.jsonl.gz"
    broken.write_bytes(b"not gzip")
    with pytest.raises(ModelError, match="is not valid JSON"):
        ReplayEngine(variant(broken, "replay"))


def test_facts_tell_the_content(tmp_path: Path) -> None:
    first = ReplayEngine(variant(write(tmp_path / "x.jsonl", {"item": "a", "text": "A"}), "replay")).facts()
    second = ReplayEngine(variant(write(tmp_path / "x.jsonl", {"item": "a", "text": "B"}), "replay")).facts()
    assert first["engine"] == "replay"
    assert first["model"]["samples"] == 1
    assert first["model"]["sha256"] != second["model"]["sha256"]
