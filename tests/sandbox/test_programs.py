"""What honest programs need works inside, fresh and warm alike; and what one script leaves, the next does not find."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitparity.errors import SandboxError
from bitparity.sandbox.contract import Ended, Limits, Sandbox
from bitparity.sandbox.gate import GATE, Gate
from bitparity.sandbox.warm import WarmWorker
from tests.sandbox.conftest import SHORT, Attack

HONEST = {
    "standard input, as lines": ("import sys\nprint(sum(int(line) for line in sys.stdin))", b"1\n2\n", b"3\n"),
    "standard input, as a file": ("print(open(0).read().upper(), end='')", b"abc\n", b"ABC\n"),
    "standard input, as bytes": ("import os\nos.write(1, os.read(0, 100))", b"\xff\x00", b"\xff\x00"),
    "input and print": ("print(input() + '!')", "grüß\n".encode(), "grüß!\n".encode()),
    "a late main guard": ("def f(): print('f')\nif __name__ == '__main__': f()\nprint('end')", b"", b"f\nend\n"),
    "global names": ("n = 0\ndef f():\n global n\n n += 1\nf()\nprint(n)", b"", b"1\n"),
    "classes that are pickled": (
        "import pickle\nclass A: x = 1\nprint(pickle.loads(pickle.dumps(A())).x)",
        b"",
        b"1\n",
    ),
    "deep recursion": (
        "import sys, threading\nsys.setrecursionlimit(10**6)\nthreading.stack_size(128 << 20)\n"
        "def f(n): return 0 if n == 0 else 1 + f(n - 1)\n"
        "t = threading.Thread(target=lambda: print(f(50000))); t.start(); t.join()",
        b"",
        b"50000\n",
    ),
    "threads that outlive the main one": (
        "import threading, time\ndef late():\n time.sleep(0.05)\n print('late')\n"
        "threading.Thread(target=late).start()\nprint('main')",
        b"",
        b"main\nlate\n",
    ),
    "exit functions": ("import atexit\natexit.register(print, 'bye')\nprint('hi')", b"", b"hi\nbye\n"),
    "leaving early": ("import sys\nprint('x')\nsys.exit()", b"", b"x\n"),
    "processes": (
        "import multiprocessing as m\nm.set_start_method('fork')\ndef f(x): return x * x\n"
        "if __name__ == '__main__':\n with m.Pool(2) as p: print(p.map(f, [1, 2, 3]))",
        b"",
        b"[1, 4, 9]\n",
    ),
    "temporary files": ("import tempfile\nwith tempfile.TemporaryFile() as f: print(f.write(b'abc'))", b"", b"3\n"),
    "other programs": (
        "import subprocess\nprint(subprocess.check_output(['echo', 'hi']).decode(), end='')",
        b"",
        b"hi\n",
    ),
    "the same hash seed": ("print(hash('a') == hash('a'), len({str(i) for i in range(9)}))", b"", b"True 9\n"),
    "time zones": ("import zoneinfo\nprint(zoneinfo.ZoneInfo('UTC'))", b"", b"UTC\n"),
}


@pytest.mark.parametrize("name", HONEST)
def test_honest_programs(attack: Attack, name: str) -> None:
    code, stdin, expected = HONEST[name]
    ended = attack(code, stdin, cpu_s=5, memory_mb=512)
    assert (ended.end, ended.stdout) == ("exit", expected), ended


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("1 / 0", 1, b"ZeroDivisionError: division by zero"),
        ("def broken(", 1, b"SyntaxError"),
        ("import sys\nsys.exit('no')", 1, b"no"),
        ("import sys\nsys.exit(300)", 44, b""),
        ("import no_such_module", 1, b"ModuleNotFoundError"),
        ("raise KeyboardInterrupt", None, b"KeyboardInterrupt"),
    ],
)
def test_failing_programs(attack: Attack, code: str, status: int | None, said: bytes) -> None:
    ended = attack(code)
    assert ended.end == "runtime_error"
    assert said in ended.stderr
    if status is not None:
        assert ended.status == status


def test_the_answer_carries_what_was_used(box: Sandbox) -> None:
    ended = box.run({}, [box.python, "-c", "import time\nwhile time.process_time() < 0.3: pass\ntime.sleep(0.2)"])
    assert 0.28 < ended.cpu_s < 1.5
    assert ended.wall_s > 0.5


def test_only_the_last_part_of_standard_error_is_kept(box: Sandbox) -> None:
    code = "import sys\nsys.stderr.write('a' * 100000 + 'the end')"
    ended = box.run({}, [box.python, "-c", code], limits=Limits(output_bytes=1 << 18))
    assert ended.end == "exit"
    assert len(ended.stderr) == 16 << 10
    assert ended.stderr.endswith(b"the end")


def test_files_and_folders_of_a_program(box: Sandbox, worker: WarmWorker) -> None:
    files = {"data/in.txt": b"42", "helper.py": b"def read(): return open('data/in.txt').read()"}
    fresh = box.run({**files, "main.py": b"import helper\nprint(helper.read())"}, [box.python, "main.py"])
    warm = worker.run(files, "import helper\nprint(helper.read())")
    assert (fresh.stdout, warm.stdout) == (b"42\n", b"42\n")


def test_programs_in_several_threads(box: Sandbox) -> None:
    ended: list[Ended] = []

    def run(number: int) -> None:
        ended.append(box.run({}, [box.python, "-S", "-c", f"print({number})"]))

    threads = [threading.Thread(target=run, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(one.stdout) for one in ended) == list(range(6))


def test_facts_tell_the_level(box: Sandbox) -> None:
    facts = box.facts()
    assert facts["level"] == "bubblewrap"
    assert facts["seccomp"] == "on"
    assert facts["version"].startswith("bubblewrap ")


@pytest.fixture(scope="module")
def numeric(box: Sandbox) -> Iterator[WarmWorker]:
    with WarmWorker(box, ["numpy", "scipy.linalg"]) as warm:
        yield warm


def test_preloaded_modules_are_there(numeric: WarmWorker) -> None:
    ended = numeric.run({}, "import sys\nprint('numpy' in sys.modules)\nimport numpy\nprint(numpy.ones(3).sum())")
    assert ended.stdout == b"True\n3.0\n"


def test_a_script_changes_nothing_for_the_next(numeric: WarmWorker) -> None:
    spoil = """
import builtins, json, numpy, os, signal, sys
numpy.array = numpy.allclose = lambda *a, **k: True
builtins.print = None
json.dumps = None
open("left", "w").write("x"); open("/box/tmp/left", "w").write("x"); open("/dev/shm/left", "w").write("x")
os.environ["PYTHONHASHSEED"] = "9"
sys.path.insert(0, "/box/tmp")
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.chmod(".", 0)
if os.fork() == 0:
    os.setsid()
    while True: signal.pause()
"""
    assert numeric.run({}, spoil, limits=SHORT).end == "exit"
    look = """
import json, numpy, os, sys
assert not numpy.allclose(numpy.array([1.0]), numpy.array([2.0]))
print(os.listdir("."), os.listdir("/box/tmp"), os.listdir("/dev/shm"), json.dumps(1), "/box/tmp" in sys.path)
print([p for p in os.listdir("/proc") if p.isdigit()], os.environ["PYTHONHASHSEED"])
"""
    ended = numeric.run({}, look)
    assert ended.stdout == b"['__main__.py'] [] [] 1 False\n['1', '2'] 0\n", ended


def test_a_script_finds_neither_the_worker_nor_its_connection(numeric: WarmWorker) -> None:
    code = """
import gc, os, socket
found = [o for o in gc.get_objects() if isinstance(o, socket.socket)]
for one in found:
    try: one.send(b"pass"); print("sent")
    except OSError: pass
print(os.getpid(), os.getppid(), sorted(os.listdir("/proc/self/fd"))[:3])
"""
    assert numeric.run({}, code).stdout == b"2 1 ['0', '1', '2']\n"


def test_random_numbers_differ_between_scripts(numeric: WarmWorker) -> None:
    code = "import random, uuid\nprint(random.random(), uuid.uuid4())"
    assert numeric.run({}, code).stdout != numeric.run({}, code).stdout


def test_a_worker_whose_process_is_gone_is_replaced(box: Sandbox) -> None:
    with WarmWorker(box) as warm:
        assert warm.run({}, "print(1)").stdout == b"1\n"
        warm._idle[0]._process.kill()
        time.sleep(0.1)
        ends = [warm.run({}, "print(1)").end for _ in range(2)]
        assert ends[-1] == "exit"


def test_a_module_that_cannot_be_imported_is_said_at_once(box: Sandbox) -> None:
    with pytest.raises(SandboxError, match="No module named 'no_such_module'"):
        WarmWorker(box, ["no_such_module"])


def test_the_warm_workers_processes_end_with_it(box: Sandbox) -> None:
    warm = WarmWorker(box)
    process = warm._idle[0]._process
    warm.close()
    assert process.returncode is not None
    assert not Path(f"/proc/{process.pid}").exists()


def test_a_script_does_not_wait_for_another_threads(box: Sandbox) -> None:
    with WarmWorker(box) as warm:
        ends: list[str] = []
        slow = threading.Thread(
            target=lambda: ends.append(warm.run({}, "while True: pass", limits=Limits(cpu_s=8, wall_s=60)).end)
        )
        slow.start()
        assert warm.run({}, "print(1)").stdout == b"1\n"
        assert slow.is_alive()
        slow.join()
        assert ends == ["time_limit"]
        assert 1 <= len(warm._idle) <= 2  # both ended, and wait for the next


def test_a_rerun_waits_until_it_is_alone() -> None:
    gate, order = Gate(), list[str]()
    started = threading.Event()

    def beside() -> None:
        with gate.beside_others():
            started.set()
            time.sleep(0.1)
            order.append("first")

    def later() -> None:
        with gate.beside_others():
            order.append("later")

    first = threading.Thread(target=beside)
    first.start()
    started.wait()
    with gate.undisturbed():
        second = threading.Thread(target=later)
        second.start()
        time.sleep(0.05)
        with gate.beside_others():
            order.append("alone")
    first.join()
    second.join()
    assert order == ["first", "alone", "later"]


def test_as_many_reruns_as_the_host_has_room_for_run_at_once() -> None:
    gate, both = Gate(), threading.Barrier(2, timeout=30)
    most, now, lock = 0, 0, threading.Lock()

    def rerun(meet: bool) -> None:
        nonlocal most, now
        with gate.undisturbed(2):
            with lock:
                now += 1
                most = max(most, now)
            if meet:
                both.wait()  # two are inside at the same time
            time.sleep(0.02)
            with lock:
                now -= 1

    threads = [threading.Thread(target=rerun, args=(number < 2,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threads = [threading.Thread(target=rerun, args=(False,)) for _ in range(6)]
    for thread in threads:
        thread.start()
    with gate.beside_others():  # after them, alone with its kind
        assert now == 0
    for thread in threads:
        thread.join()
    assert most == 2


def test_rerunning_in_the_sandbox_does_not_wait_for_itself(box: Sandbox) -> None:
    with GATE.undisturbed():
        ended = box.run({}, [box.python, "-S", "-c", "print(1)"])
    assert ended.stdout == b"1\n"
