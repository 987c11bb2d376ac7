from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
from support import SHARED_DATA

from bitparity.errors import StoreError
from bitparity.store.environment import Generation, RunRecord, VariantRecord
from bitparity.store.jsonl import write_json
from bitparity.store.run import Run

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def written(record: RunRecord, folder: Path) -> bytes:
    write_json(folder / "environment.json", record.model_dump(mode="json"))
    return (folder / "environment.json").read_bytes()


@pytest.mark.parametrize("path", sorted(EXAMPLES.rglob("environment.json")), ids=lambda path: path.parent.name)
def test_the_examples_keep_their_bytes(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    assert written(RunRecord.model_validate_json(data), tmp_path) == data


def test_the_recorded_run_keeps_its_bytes(tmp_path: Path) -> None:
    archive = SHARED_DATA / "recorded-1.5b" / "run.tar.xz"
    if not archive.exists():
        pytest.skip(f"{archive} is not here")
    with tarfile.open(archive) as tar:
        members = [tar.extractfile(m) for m in tar if m.name.endswith("environment.json")]
        (data,) = [member.read() for member in members if member is not None]
    assert written(RunRecord.model_validate_json(data), tmp_path) == data


def test_keys_of_other_versions_are_kept_in_their_place(tmp_path: Path) -> None:
    document = {
        "of another version": [1, 2.0],
        "cpus": 4,
        "not_run": {},
        "variants": {
            "fp8": {"engines": [], "generation": {"seconds": 0, "samples": 3, "output_tokens": None}, "identity": {}}
        },
        "shard": {"index": 1, "of": 3},
    }
    data = (json.dumps(document, indent=2) + "\n").encode()
    assert written(RunRecord.model_validate_json(data), tmp_path) == data


def test_what_was_never_noted_stays_absent_until_it_is() -> None:
    record = RunRecord(variants={"fp8": VariantRecord(identity={}, engines=[])})
    assert record.model_dump(mode="json") == {"variants": {"fp8": {"identity": {}, "engines": []}}}
    record.variants["fp8"].exam["math500"] = "ab"
    record.variants["fp8"].generation = Generation(seconds=1.5, samples=2, output_tokens=None)
    assert record.model_dump(mode="json")["variants"]["fp8"] == {
        "identity": {},
        "engines": [],
        "exam": {"math500": "ab"},
        "generation": {"seconds": 1.5, "samples": 2, "output_tokens": None},
    }


def test_a_record_that_was_changed_by_hand_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "environment.json").write_text('{"variants": {"fp8": {"engines": "none"}}}')
    with pytest.raises(StoreError, match=r"at 'variants.fp8.engines'\): it was changed; restore it"):
        Run(tmp_path).environment()


SERVER = {
    "engine": "openai",
    "server": {"base_url": "http://localhost:8000/v1"},
    "chat_template": "the exam's",
    "exam_tokens_sent": True,
    "sampling_extensions": True,
    "usage_reported": True,
    "unproved": ["weights"],
}


@pytest.mark.parametrize(
    ("identity", "facts"),
    [
        ("a text", {}),
        ({"weights": "a text"}, {}),
        ({"revision": True}, {}),
        ({"tokenizer_sha256": []}, {}),
        ({}, []),
        ({}, {"engine": 7}),
        ({}, {"model": False}),
        ({}, {"model": {"weights": {"sha256": 3}}}),
        ({}, {"quantization": "fp8"}),
        ({}, {"quantization": {"weights": [None]}}),
        ({}, {"linear_kernels": ["Marlin"]}),
        ({}, {"layer_kernels": {"qkv_proj": 24}}),
        ({}, SERVER | {"server": None}),
        ({}, {key: value for key, value in SERVER.items() if key != "unproved"}),
    ],
)
def test_facts_of_another_type_are_told_with_their_place(tmp_path: Path, identity: object, facts: object) -> None:
    def stored(identity: object, facts: object) -> Run:
        variant = {"identity": identity, "engines": [{"facts": facts, "sessions": []}]}
        write_json(tmp_path / "environment.json", {"variants": {"fp8": variant}})
        return Run(tmp_path)

    assert stored({"of another version": 1}, SERVER | {"new": []}).environment().variants["fp8"].engines
    with pytest.raises(StoreError, match=r"at 'variants\.fp8\."):
        stored(identity, facts).environment()
