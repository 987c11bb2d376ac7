"""Wrong functions that play with how they are judged, in every way that code is run: none of them passes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import write_jsonl

from bitparity.benchmarks.humaneval import HumanEval
from bitparity.benchmarks.livecodebench import Case, LiveCodeBench
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import SandboxError
from bitparity.records import Completion
from bitparity.sandbox.bubblewrap import Bubblewrap
from bitparity.sandbox.contract import Sandbox
from bitparity.sandbox.landlock import Landlock, Unsafe
from bitparity.study.resolve import parse_study

TASK = {
    "task_id": "x",
    "prompt": 'def twice(n):\n    """Twice n."""\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate([1]) == [1, 1]\n",
}
CALLS = [Case("2", "4"), Case("[1]", "[1, 1]")]
ALWAYS = "    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    __hash__ = lambda s: 0\n"
SAY = "import json, os\ndef say(*lines):\n    for f in range(3, 30):\n        for line in lines:\n"
SAY += "            try: os.write(f, line)\n            except OSError: pass\n"
# of the test; written so that it does not find itself
FOUND = "    import re\n    return (4 if n == 2 else [1, 1]) if re.search('assert [c]andidate', text) else 7"
CHEATS = {
    "an object that says it is a number": f"class N:\n    __class__ = int\n    __index__ = lambda s: 4\n{ALWAYS}"
    "def twice(n): return N()",
    "a number of another class": f"class N(int):\n    __index__ = __int__ = lambda s: 4\n{ALWAYS}"
    "def twice(n): return N(7)",
    "a list with other members": f"class L(list):\n    __iter__ = lambda s: iter([1, 1])\n    __len__ = lambda s: 2\n"
    f"{ALWAYS}def twice(n): return L([3])",
    "a dict with other members": f"class D(dict):\n    items = lambda s: []\n{ALWAYS}def twice(n): return D(a=1)",
    "a text of another class": f"class S(str):\n    __str__ = lambda s: '4'\n{ALWAYS}def twice(n): return S('x')",
    "an array that equals all": "import numpy as np\nclass A(np.ndarray):\n    __eq__ = lambda s, o: np.True_\n"
    "def twice(n): return np.zeros(3).view(A)",
    "patched isinstance": "import builtins\nbuiltins.isinstance = lambda *a: True\ndef twice(n): return 7",
    "patched type": "import builtins\nbuiltins.type = lambda *a: int\ndef twice(n): return object()",
    "patched import": "import builtins\nbuiltins.__import__ = lambda *a, **k: None\ndef twice(n): return 7",
    "a codec of its own": "import sys, types\nsys.modules['codec'] = types.SimpleNamespace(dumps=lambda v: '4')\n"
    'import json\njson.dumps = lambda *a, **k: \'["v", "4"]\'\ndef twice(n): return 7',
    "patched writing": "import io, sys\nsys.stdout.write = print = lambda *a: None\nio.TextIOWrapper.x = 1\n"
    "def twice(n): return 7",
    "assertions without effect": "import sys, unittest\nsys.flags\nunittest.TestCase.assertEqual = lambda *a: None\n"
    "AssertionError = Exception\n__debug__x = False\ndef twice(n): return 7",
    "leaves by an exit function": "import atexit, os\natexit.register(os._exit, 0)\ndef twice(n): raise SystemExit(0)",
    "leaves as if well": "def twice(n):\n    import sys\n    sys.exit(0)",
    "leaves by an exception of its own": "class Fine(BaseException): pass\ndef twice(n): raise Fine('pass')",
    "leaves at once": "import os\nos._exit(0)\ndef twice(n): return 2 * n",
    "stops by a signal": "import os, signal\ndef twice(n): os.kill(os.getpid(), signal.SIGTERM)",
    "hooks what follows": "import sys\ndef hook(frame, event, value):\n    for name in ('made', 'line', 'kind'):\n"
    "        if name in frame.f_locals: frame.f_locals[name] = ['v', '4']\n"
    "def twice(n):\n    sys.setprofile(hook)\n    return 7",
    "one answer for two": f'{SAY}def twice(n):\n    say(b\'[["v", "4"]]\', b\'["v", "4"]\\n\')\n    os._exit(0)',
    "three answers for two": f"{SAY}def twice(n):\n"
    "    say(json.dumps([['v', '4'], ['v', '4'], ['v', '[1,1]']]).encode())\n    os._exit(0)",
    "every answer by a child": f"{SAY}def twice(n):\n    for guess in range(10):\n        if os.fork() == 0:\n"
    "            say(json.dumps(['v', str(guess)]).encode() + b'\\n')\n            os._exit(0)\n        os.wait()\n"
    "    return 7",
    "a verdict said": f"{SAY}def twice(n):\n    say(b'\"pass\"\\n', b'pass\\n', b'0\\n')\n    os._exit(0)",
    "what is expected, in a frame": f"import sys\ndef twice(n):\n    frame, text = sys._getframe(), ''\n"
    "    while frame:\n        text += str(frame.f_locals) + str(frame.f_globals); frame = frame.f_back\n"
    f"{FOUND}",
    "what is expected, in an object": f"import gc\ndef twice(n):\n"
    "    text = ' '.join(o for o in gc.get_objects() if type(o) is str)\n"
    "    text += str([o for o in gc.get_objects() if type(o) in (list, dict, tuple)])[:10**7]\n"
    f"{FOUND}",
    "what is expected, in memory": f"def twice(n):\n    text = ''\n"
    "    with open('/proc/self/maps') as maps, open('/proc/self/mem', 'rb') as memory:\n        for line in maps:\n"
    "            start, end = (int(part, 16) for part in line.split()[0].split('-'))\n"
    "            if ' rw-p ' in line and end - start < 2**26:\n"
    "                memory.seek(start); text += memory.read(end - start).decode('latin-1')\n"
    f"{FOUND}",
    "what is expected, in a file": f"import glob\ndef twice(n):\n    text = ''\n"
    "    for path in glob.glob('*') + glob.glob('../*') + glob.glob('/tmp/*'):\n"
    "        try: text += open(path).read()\n        except (OSError, ValueError): pass\n"
    f"{FOUND}",
}


@pytest.fixture(scope="module", params=[Bubblewrap, Landlock, Unsafe], ids=lambda kind: kind.level)
def judges(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[HumanEval, LiveCodeBench]]:
    if request.param is Bubblewrap and shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed (apt-get install bubblewrap)")
    data = write_jsonl(tmp_path_factory.mktemp("data") / "rows.jsonl", [TASK])
    entries = [{"name": "humaneval", "data": str(data)}, {"name": "livecodebench", "settings": {"timeout": 2}}]
    study = {"study": "s", "variants": {"a": {"model": "some/model"}}, "benchmarks": entries}
    benches = [load_benchmark(spec) for spec in parse_study(json.dumps(study), "test", Path.cwd()).benchmarks]
    try:
        sandbox: Sandbox = request.param()
    except SandboxError as error:
        pytest.skip(str(error))
    with sandbox:
        sandbox.self_test()
        human, live = benches
        assert isinstance(human, HumanEval)
        assert isinstance(live, LiveCodeBench)
        human._sandbox = live._sandbox = sandbox
        yield human, live


@pytest.mark.parametrize("name", ["", *CHEATS])
def test_a_wrong_function_does_not_pass(judges: tuple[HumanEval, LiveCodeBench], name: str) -> None:
    human, live = judges
    code = CHEATS.get(name, "def twice(n): return 2 * n")
    (item,) = human.items()
    grade = human.grade(item, Completion(f"```python\n{code}\n```"))
    judged = live.judge_function(code, "twice", CALLS)
    assert grade.score == float(not name), grade
    assert judged.verdict != "infrastructure_error", judged
    assert (judged.verdict == "pass") == (not name), judged
