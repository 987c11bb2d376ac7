"""Places for engines: GPUs, MIG slices by UUID (doubles: no sliced GPU is at hand), nodes of a cluster."""

from __future__ import annotations

from typing import Any

import pytest

from bitparity.cluster.places import Seat, gpus_of, local_devices, seats
from bitparity.cluster.serving import check_identity, room, without_place
from bitparity.errors import UserInputError
from bitparity.hardware.nvml import Gpu, Machine, Slice
from bitparity.schema import EngineSpec, Variant

GB = 1 << 30


def gpu(index: int, *slices: str, mig: bool = False) -> Gpu:
    parts = tuple(Slice(uuid, "1g.10gb", 10 * GB, 10 * GB) for uuid in slices)
    return Gpu(index, "NVIDIA H100", f"GPU-{index}", 80 * GB, 80 * GB, (9, 0), mig or bool(slices), parts)


def variant(**engine: Any) -> Variant:
    given = {"kind": "vllm", "dtype": "auto", "batch_size": 4, "trust_remote_code": False, **engine}
    return Variant(model="x/y", revision=None, tokenizer=None, baseline=False, engine=EngineSpec(**given))


def node(name: str, alive: bool = True, **resources: float) -> dict[str, Any]:
    return {"NodeID": name, "Alive": alive, "Resources": {"CPU": 8.0, **resources}}


def test_a_host_alone_uses_every_gpu_and_every_slice() -> None:
    machine = Machine((gpu(0), gpu(1, "MIG-a", "MIG-b"), gpu(2, mig=True), gpu(3)))
    assert local_devices({}, machine) == ["0", "MIG-a", "MIG-b", "3"]


def test_what_the_user_shows_is_used_and_nothing_else() -> None:
    machine = Machine((gpu(0, "MIG-a", "MIG-b"),))
    assert local_devices({"CUDA_VISIBLE_DEVICES": "MIG-b, MIG-c"}, machine) == ["MIG-b", "MIG-c"]
    assert local_devices({"CUDA_VISIBLE_DEVICES": ""}, machine) == []
    assert local_devices({"CUDA_VISIBLE_DEVICES": "-1"}, machine) == []


def test_a_seat_has_the_gpus_that_one_engine_takes() -> None:
    nodes = [node("head"), node("a", GPU=8.0), node("b", GPU=3.0), node("gone", alive=False, GPU=8.0)]
    assert len(seats(nodes, 1)) == 11
    assert seats(nodes, 2) == [Seat("a", n, 2) for n in range(4)] + [Seat("b", 0, 2)]


def test_without_gpus_a_node_has_one_engine_or_as_many_as_it_says() -> None:
    assert seats([node("a"), node("b")], 1) == [Seat("a", 0), Seat("b", 0)]
    said = [node("head", bitparity=0.0), node("a", bitparity=2.0), node("b")]
    assert seats(said, 0) == [Seat("a", 0, custom=True), Seat("a", 1, custom=True)]
    assert seats([node("a", GPU=4.0)], 0) == [Seat("a", 0)]  # engines that need no GPU leave them alone


@pytest.mark.parametrize(
    ("engine", "gpus"),
    [
        ({}, 1),
        ({"tensor_parallel_size": 4}, 4),
        ({"kind": "transformers"}, 1),
        ({"kind": "transformers", "device": "cpu"}, 0),
        ({"kind": "replay"}, 0),
    ],
)
def test_the_gpus_of_an_engine(engine: dict[str, Any], gpus: int) -> None:
    assert gpus_of(variant(**engine)) == gpus


def test_a_device_that_the_study_names_is_another_hosts() -> None:
    assert without_place(variant(device="MIG-a")).engine.device is None
    assert without_place(variant(device="cuda:3")).engine.device is None
    assert without_place(variant(kind="transformers", device="cpu")).engine.device == "cpu"


def test_what_an_engine_runs_at_once() -> None:
    assert room(variant(), {"max_num_seqs": 512}) == 512
    assert room(variant(kind="openai", base_url="http://h/v1"), {"concurrency": 16}) == 16
    assert room(variant(kind="transformers"), {"batch_size": 8}) == 1
    assert room(variant(kind="replay"), {}) > 1


def test_another_checkpoint_on_an_actors_host_is_refused() -> None:
    ours = {"path": "/a", "revision": None, "weights": {"sha256": "1"}, "config_sha256": "c"}
    check_identity(ours, {"model": {**ours, "path": "/elsewhere", "revision": "abc"}})
    check_identity({"recorded": "/x.jsonl"}, {"model": {"path": "/x.jsonl", "sha256": "1"}})
    with pytest.raises(UserInputError, match=r"/b on this host is not the one .*weights differ"):
        check_identity(ours, {"model": {**ours, "path": "/b", "weights": {"sha256": "2"}}})
