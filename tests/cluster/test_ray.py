"""Real Ray clusters on the loopback interface, with CPU engines: the samples are those of a single device."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from nodes import Nodes
from openai_double import serving
from support import math_rows, replay_study, stored, write_jsonl, write_yaml
from test_faults import slow

from bitparity.errors import SandboxError
from bitparity.sandbox.levels import open_sandbox
from bitparity.store.run import Run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two() -> Iterator[Nodes]:
    """Two raylets with an engine each."""
    pytest.importorskip("ray", reason="the package ray is not installed")
    nodes = Nodes(1, 1)
    yield nodes
    nodes.close()


def bitparity(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bitparity", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def test_recorded_answers_over_two_nodes_are_those_of_one_device(two: Nodes, tmp_path: Path) -> None:
    study = replay_study(tmp_path)
    assert bitparity("run", study, "--out", tmp_path / "one").returncode in (0, 1, 3)
    ended = bitparity("run", study, "--out", tmp_path / "many", "--ray", two.address)
    assert ended.returncode in (0, 1, 3), ended.stderr
    assert stored(tmp_path / "many") == stored(tmp_path / "one")
    one, many = (json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "many"))
    for part in ("scores", "comparisons"):
        assert many["benchmarks"]["math500"][part] == one["benchmarks"]["math500"][part]
    environment = Run(tmp_path / "many").environment()
    for entry in environment.variants.values():
        (engine,) = entry.engines  # one class of devices
        assert engine.devices
    (session,) = environment.cluster_sessions
    assert session.samples == 36
    assert "ray" not in ended.stderr.lower()


def test_a_model_in_fixed_batches_gives_the_same_numbers_on_four_actors(two: Nodes, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the transformers engine is not installed")
    from tiny_model import build_model

    two.order("add 1")
    two.order("add 1")
    model = os.environ.get("BITPARITY_TEST_MODEL") or build_model(tmp_path / "model")
    study = write_yaml(
        tmp_path / "study.yaml",
        {
            "study": "batches",
            "variants": {
                "full": {"model": str(model), "baseline": True},
                "half": {"model": str(model), "engine": {"dtype": "bfloat16"}},
            },
            "engine": {"kind": "transformers", "device": "cpu", "batch_size": 5},
            "benchmarks": [{"name": "smoke", "temperature": 0.8, "limit": 12, "max_tokens": 24}],
        },
    )
    assert bitparity("run", study, "--out", tmp_path / "one").returncode in (0, 1, 3)
    ended = bitparity("run", study, "--out", tmp_path / "many", "--ray", two.address)
    assert ended.returncode in (0, 1, 3), ended.stderr
    assert stored(tmp_path / "many") == stored(tmp_path / "one")
    assert list((tmp_path / "many" / "logs").glob("full-*.log"))


def test_a_node_that_goes_away_costs_nothing(two: Nodes, tmp_path: Path) -> None:
    """A server that takes its time answers; one of the nodes ends meanwhile, and another comes."""
    data = write_jsonl(tmp_path / "math.jsonl", math_rows(20))
    with serving(slow) as server:
        study = write_yaml(
            tmp_path / "study.yaml",
            {
                "study": "served",
                "variants": {"a": {"model": "toy", "baseline": True}, "b": {"model": "toy"}},
                "engine": {"kind": "openai", "base_url": server.url, "concurrency": 2},
                "benchmarks": [{"name": "math500", "data": data.name, "samples": 2, "temperature": 0.8}],
            },
        )
        command = [sys.executable, "-m", "bitparity", "run", str(study), "--out", str(tmp_path / "run")]
        process = subprocess.Popen([*command, "--ray", two.address], stderr=subprocess.PIPE, text=True)
        wait_for_rows(tmp_path / "run", 8)
        two.order("kill 1")
        two.order("add 1")
        _, errors = process.communicate(timeout=240)
    assert process.returncode in (0, 1, 3), errors
    single = stored(tmp_path / "run")
    assert len(single) == 2 * 20 * 2  # variants, items, samples
    notes = json.loads((tmp_path / "run" / "progress.json").read_text())["notes"]
    assert any("is gone" in note["text"] for note in notes)


def wait_for_rows(out: Path, count: int) -> None:
    deadline = time.monotonic() + 120
    while sum(p.read_bytes().count(b"\n") for p in (out / "samples").rglob("*.jsonl")) < count:
        assert time.monotonic() < deadline, "the run did not get going"
        time.sleep(0.1)


def test_code_is_tested_on_other_hosts_with_the_same_verdicts(two: Nodes, tmp_path: Path) -> None:
    rows = [
        {
            "task_id": f"HumanEval/{n}",
            "prompt": "def two():\n",
            "entry_point": "two",
            "canonical_solution": "    return 2\n",
            "test": "def check(candidate):\n    assert candidate() == 2\n",
        }
        for n in range(2)
    ]
    write_jsonl(tmp_path / "humaneval.jsonl", rows)
    write_jsonl(tmp_path / "a.jsonl", [{"item": "HumanEval/0", "text": ""}])
    study = write_yaml(
        tmp_path / "study.yaml",
        {
            "study": "code",
            "variants": {"a": {"model": "a.jsonl"}},
            "engine": {"kind": "replay"},
            "benchmarks": [{"name": "humaneval", "data": "humaneval.jsonl"}],
        },
    )
    try:
        with open_sandbox(unsafe=False):
            pass
    except SandboxError as error:
        pytest.skip(f"no sandbox here: {error}")
    script = Path(__file__).with_name("testing_elsewhere.py")
    command = [sys.executable, str(script), two.address, str(study), str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    cores, here, there = json.loads(ended.stdout.splitlines()[-1])
    assert cores >= 1
    assert there == here == [1.0, 0.0] * 2


def test_mig_slices_are_shown_to_actors_one_by_one_by_their_uuid(tmp_path: Path) -> None:
    """No sliced GPU is at hand: Ray is told of two slices, and what the actors see is looked at."""
    pytest.importorskip("ray", reason="the package ray is not installed")
    code = (
        "from bitparity.cluster import ray_pool as r\n"
        "from bitparity.study.resolve import load_study\n"
        "from pathlib import Path\n"
        "import sys\n"
        "study = load_study(Path(sys.argv[1]))\n"
        "with r.connected('auto'):\n"
        "    pool = r.RayPool(study.variants, {n: {} for n in study.variants}, Path(sys.argv[1]).parent)\n"
        "    seen = set()\n"
        "    while len(seen) < 2:\n"
        "        seen |= {event.device for event in pool.poll()}\n"
        "    print(sorted(pool.place(name)['devices'] for name in seen))\n"
        "    pool.close()\n"
    )
    model = tmp_path / "m"
    model.mkdir()
    study = write_yaml(
        tmp_path / "study.yaml",
        {
            "study": "mig",
            "variants": {"a": {"model": str(model)}},
            "engine": {"kind": "vllm", "device": "MIG-another-host"},
            "benchmarks": ["smoke"],
        },
    )
    environment = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    environment["CUDA_VISIBLE_DEVICES"] = "MIG-6f1a,MIG-77b2"
    command = [sys.executable, "-c", code, str(study)]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert ended.stdout.strip() == "['MIG-6f1a', 'MIG-77b2']", ended.stderr


def test_a_cluster_that_is_not_there_is_known_before_anything_is_made(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the package ray is not installed")
    ended = bitparity("run", replay_study(tmp_path), "--out", tmp_path / "run", "--ray", "127.0.0.1:9")
    assert ended.returncode == 2
    assert "no Ray cluster answers at 127.0.0.1:9" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_nothing_of_ray_is_imported_on_one_device(tmp_path: Path) -> None:
    study = replay_study(tmp_path)
    code = (
        "import sys\nfrom bitparity.cli import app as cli\nsys.argv = ['bitparity', *sys.argv[1:]]\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] == 'ray' or m.startswith('bitparity.cluster')))"
    )
    command = [sys.executable, "-c", code, "run", str(study), "--out", str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.stdout.splitlines()[-1] == "[]", ended.stderr
