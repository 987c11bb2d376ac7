"""What the sandbox adds to a test's own time, whether it leaks, and whether the load changes a verdict.

    python perf/sandbox.py [--rounds 100] [--tests 5000] [--load 8]

Timing: a stdin test and a warm numpy test, each in turn with the same program in a bare interpreter (for numpy: a bare
fork of a process that has numpy). Growth: `--tests` tests in a row, mixed (right, failing, limits passed, warm), with
this process's memory, its descendants and its descriptors before and after. Load: the verdicts of the same programs
alone and beside `--load` busy processes. Prints one JSON line; times are medians in milliseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bitparity.sandbox.contract import Ended, Limits, Sandbox
from bitparity.sandbox.levels import open_sandbox
from bitparity.sandbox.tree import Tree
from bitparity.sandbox.warm import WarmWorker

STDIN_TEST = "import sys\nprint(sum(int(line) for line in sys.stdin))"
STDIN = b"".join(b"%d\n" % n for n in range(1000))
NUMPY_TEST = "import numpy as np\nassert np.allclose(np.linalg.inv(np.eye(20) * 2), np.eye(20) / 2)\nprint('ok')"
SHORT = Limits(cpu_s=0.4, wall_s=20, memory_mb=128, output_bytes=1 << 16, file_mb=8)
PROGRAMS = {
    "right": "print(input())",
    "runtime_error": "1 / 0",
    "daemon": "import os, time\nif os.fork() == 0:\n os.setsid(); time.sleep(60)",
    "output_limit": "while True: print('x' * 10000)",
    "memory_limit": "held = []\nwhile True: held.append(bytearray(1 << 20))",
    "time_limit": "while True: pass",
    "near the limit": "import time\nwhile time.process_time() < 0.2: pass\nprint('x')",
}


def milliseconds(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return (time.perf_counter() - started) * 1000


def bare(python: str, folder: Path) -> None:
    """The same program, started as anybody would."""
    command = [python, str(folder)]
    done = subprocess.run(command, input=STDIN, capture_output=True, check=True)
    assert done.stdout == b"499500\n"


def confined(sandbox: Sandbox) -> None:
    ended = sandbox.run({"main.py": STDIN_TEST.encode()}, [sandbox.python, "main.py"], STDIN)
    assert ended.stdout == b"499500\n", ended


def bare_fork(code: str) -> None:
    """A fork of this process, which has imported numpy, running the script with its output in a pipe."""
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.dup2(told, 1)
        exec(compile(code, "script", "exec"), {"print": lambda text: os.write(1, text.encode())})
        os._exit(0)
    os.close(told)
    select.select([heard], [], [])
    assert os.read(heard, 10) == b"ok"
    os.close(heard)
    os.waitpid(pid, 0)


def warm(worker: WarmWorker) -> None:
    ended = worker.run({}, NUMPY_TEST)
    assert ended.stdout == b"ok\n", ended


def side_by_side(rounds: int, without: Callable[[], None], within: Callable[[], None]) -> dict[str, float]:
    """Both in turn, so that the machine's load is the same for both."""
    pairs = [(milliseconds(without), milliseconds(within)) for _ in range(rounds)]
    plain, inside = statistics.median(p for p, _ in pairs), statistics.median(s for _, s in pairs)
    added = statistics.median(s - p for p, s in pairs)
    return {"bare_ms": round(plain, 1), "sandbox_ms": round(inside, 1), "added_ms": round(added, 1)}


def timing(sandbox: Sandbox, rounds: int) -> dict[str, object]:
    import numpy as np

    np.linalg.inv(np.eye(20))
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"bitparity-perf-{os.getpid()}.py"
    path.write_text(STDIN_TEST)
    try:
        stdin_test = side_by_side(rounds, lambda: bare(sandbox.python, path), lambda: confined(sandbox))
    finally:
        path.unlink()
    with WarmWorker(sandbox, ["numpy", "scipy"]) as worker:
        numpy_test = side_by_side(rounds, lambda: bare_fork(NUMPY_TEST), lambda: warm(worker))
    return {"stdin_test": stdin_test, "warm_numpy_test": numpy_test}


def state() -> dict[str, int]:
    """This process's resident memory in KiB, its descendants, its descriptors."""
    status = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()[0]
    return {
        "memory_kib": int(status),
        "processes": len(Tree(os.getpid()).pids()),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
    }


def growth(sandbox: Sandbox, tests: int) -> dict[str, object]:
    """Every tenth test is a hostile one, every second runs in the warm worker."""
    hostile = [name for name in PROGRAMS if name != "right"]
    counts: dict[str, int] = {}
    with WarmWorker(sandbox, ["json"]) as worker:
        before, started = state(), time.monotonic()
        for number in range(tests):
            name = hostile[number // 10 % len(hostile)] if number % 10 == 9 else "right"
            ended = one(sandbox, PROGRAMS[name], worker if number % 2 else None)
            counts[ended.end] = counts.get(ended.end, 0) + 1
            if number == min(100, tests // 2):
                before = state()  # caches are filled
        after = state()
    return {"tests": tests, "ends": counts, "before": before, "after": after, "s": round(time.monotonic() - started)}


def one(sandbox: Sandbox, code: str, worker: WarmWorker | None) -> Ended:
    if worker is not None:
        return worker.run({}, code, b"x\n", SHORT)
    return sandbox.run({"main.py": code.encode()}, [sandbox.python, "main.py"], b"x\n", SHORT)


@contextmanager
def busy(count: int) -> Iterator[None]:
    processes = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def load(sandbox: Sandbox, count: int, repeats: int = 3) -> dict[str, object]:
    """How every program ends, alone and beside `count` busy processes."""

    def ends() -> list[str]:
        return [one(sandbox, code, None).end for _ in range(repeats) for code in PROGRAMS.values()]

    quiet = ends()
    with busy(count):
        loaded = ends()
    return {"busy": count, "verdicts": len(quiet), "same": quiet == loaded, "ends": quiet[: len(PROGRAMS)]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--tests", type=int, default=0)
    parser.add_argument("--load", type=int, default=0)
    options = parser.parse_args()
    result: dict[str, object] = {"load_average": [round(value, 2) for value in os.getloadavg()]}
    with open_sandbox() as sandbox:
        result |= {"facts": sandbox.facts()}
        if options.rounds:
            result |= timing(sandbox, options.rounds)
        if options.tests:
            result["growth"] = growth(sandbox, options.tests)
        if options.load:
            result["load"] = load(sandbox, options.load)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
