"""Which device does what next."""

from __future__ import annotations

from dataclasses import dataclass

from bitparity.cluster.scheduling import Scheduler


@dataclass
class ToyStock:
    pieces: int
    tokens: float = 100.0  # of a piece

    def left(self) -> int:
        return self.pieces

    def work(self) -> float:
        return self.pieces * self.tokens


def ready(scheduler: Scheduler, name: str, variant: str, room: int = 8, load: float = 10.0) -> None:
    """A device that has loaded a variant, and is measured: 100 tokens a second."""
    if name not in scheduler.devices:
        scheduler.join(name)
    scheduler.load(name, variant, 0.0)
    scheduler.loaded(name, room, load)
    scheduler.give(name, 1, load)
    scheduler.end(name, 1, 100.0, load + 1.0)


def test_devices_spread_over_the_variants_by_their_work() -> None:
    scheduler = Scheduler({"big": ToyStock(600), "small": ToyStock(200), "middle": ToyStock(400)})
    chosen = []
    for n in range(6):
        scheduler.join(f"d{n}")
        variant = scheduler.choose(f"d{n}")
        assert variant is not None
        chosen.append(variant)
        scheduler.load(f"d{n}", variant, 0.0)
    assert chosen[:3] == ["big", "middle", "small"]  # each has one before any has two
    assert sorted(chosen) == ["big"] * 3 + ["middle"] * 2 + ["small"]


def test_a_change_must_be_worth_its_load() -> None:
    stock = ToyStock(0)
    scheduler = Scheduler({"a": ToyStock(0), "b": stock})
    ready(scheduler, "d0", "a")
    ready(scheduler, "d1", "b")
    stock.pieces = 9  # nine seconds of work for its one device, a load takes ten
    assert scheduler.choose("d0") is None
    stock.pieces = 11
    assert scheduler.choose("d0") == "b"
    ready(scheduler, "d2", "b")  # two devices share it: six seconds
    assert scheduler.choose("d0") is None


def test_work_that_no_device_has_is_taken_whatever_a_load_costs() -> None:
    scheduler = Scheduler({"a": ToyStock(0), "b": ToyStock(1)})
    ready(scheduler, "d0", "a", load=1000.0)
    assert scheduler.choose("d0") == "b"


def test_no_more_devices_than_pieces() -> None:
    scheduler = Scheduler({"a": ToyStock(2, tokens=1e9)})
    for n in range(3):
        scheduler.join(f"d{n}")
    for name in ("d0", "d1"):
        scheduler.load(name, "a", 0.0)
    assert scheduler.choose("d2") is None


def test_a_barred_variant_is_not_chosen() -> None:
    scheduler = Scheduler({"a": ToyStock(100), "b": ToyStock(10)})
    scheduler.join("d0")
    scheduler.devices["d0"].barred.add("a")
    assert scheduler.choose("d0") == "b"


def test_ranges_shrink_towards_the_end_and_keep_the_device_busy() -> None:
    stock = ToyStock(1000)
    scheduler = Scheduler({"a": stock})
    ready(scheduler, "d0", "a", room=64)
    ready(scheduler, "d1", "a", room=64)
    sizes = []
    now = 20.0
    while stock.pieces:
        for name in ("d0", "d1"):
            size = scheduler.range_size(name)
            assert size <= 64 + 2 * 64
            stock.pieces -= size
            scheduler.give(name, size, now)
            sizes.append(size)
        for name in ("d0", "d1"):
            done = max(1, scheduler.devices[name].held // 2)
            scheduler.end(name, done, 100.0 * done, now := now + 1.0)
    assert sizes[0] >= 64  # its engine is full at once
    last = [size for size in sizes if size][-4:]
    assert max(last) <= 8
    held = [scheduler.devices[name].held for name in ("d0", "d1")]
    assert abs(held[0] - held[1]) <= 8


def test_a_device_that_leaves_takes_its_share_with_it() -> None:
    stock = ToyStock(10)
    scheduler = Scheduler({"a": stock})
    ready(scheduler, "d0", "a", room=100)
    ready(scheduler, "d1", "a", room=100)
    assert scheduler.range_size("d0") == 3  # half of its half
    scheduler.leave("d1")
    assert scheduler.range_size("d0") == 5
    assert scheduler.spent["d1"].loading == 10.0
    assert scheduler.busy_seconds("a") == 2.0
