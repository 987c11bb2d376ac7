"""Shards of a study on machines that do not know of each other, and their union."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import Cli, replay_study

from bitparity.cli.studies import parse_shard
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.generation.shards import Shard
from bitparity.records import Item, Prompt, Request, Sampling


@given(chains=st.lists(st.integers(1, 4), min_size=1, max_size=30), of=st.integers(1, 9))
def test_every_item_is_in_one_shard_and_chains_stay_together(chains: list[int], of: int) -> None:
    items = [
        Item(f"{c}.{k}", (Prompt(text="?"),), None, after=f"{c}.{k - 1}" if k else None)
        for c, length in enumerate(chains)
        for k in range(length)
    ]
    exam = Exam("b", "m", Sampling(1), 0, None, tuple(map(ExamItem, items)), len(items), {})
    parts = [[e.item.id for e in Shard(i, of).part(exam).items] for i in range(1, of + 1)]
    assert sorted(item for part in parts for item in part) == sorted(item.id for item in items)
    for part in parts:
        assert all(item.after is None or item.after in part for item in items if item.id in part)
    sizes = [len({item.split(".")[0] for item in part}) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_fixed_batches_stay_whole() -> None:
    requests = [Request("steps" if n < 10 else "b", f"i{n}", 0, Sampling(1), 0, batch=n // 5) for n in range(40)]
    parts = [Shard(i, 3).batches(requests, {"steps": 1}) for i in (1, 2, 3)]
    assert sorted(r.item for part in parts for r in part) == sorted(r.item for r in requests)
    assert [r.item for r in parts[1] if r.benchmark == "steps"] == [f"i{n}" for n in range(10)]
    owner = {(r.benchmark, r.batch): i for i, part in enumerate(parts) for r in part}
    assert all(owner[r.benchmark, r.batch] == i for i, part in enumerate(parts) for r in part)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "a/b", "1/2/3", "-1/4"])
def test_a_shard_that_is_none_is_refused(cli: Cli, tmp_path: Path, text: str) -> None:
    ended = cli("run", replay_study(tmp_path), f"--shard={text}")
    assert ended.code == 2
    assert "1/8 to 8/8" in ended.err
    assert parse_shard("3/8") == Shard(3, 8)
