"""README and the example's page, followed word for word on a double of a fresh Ubuntu 22.04 with two slices.

The shell finds nothing but the doubles and a few tools of Ubuntu: no compiler, no git, no uv, Python 3.10 alone. What
cannot be done here (packages, downloads, computing with vLLM) is done by doubles that check what they are told.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from first_machine import SLICES

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "examples" / "qwen3-32b-rtx-pro-6000" / "README.md"
TOOLS = ("bash", "sh", "env", "mkdir", "cat", "cp", "ln", "chmod", "rm", "ls", "dirname", "touch", "true", "sleep")
UBUNTU = {"git", "gcc", "g++", "bubblewrap", "python3-dev", "openssh-client", "curl"}
OPEN_ENDS = re.compile(r"bitparity (run|check|compare|locate)\b")  # a verdict is an outcome: exit codes 1 and 3
UV_OPTIONS = {"--python", "--managed-python"}  # of `uv venv`, as uv 0.13 has them

DOUBLES = {
    "sudo": 'exec "$@"',
    "apt-get": f"""[ "$1 $2" = "install -y" ] || exit 100
shift 2
for package; do
  case " {" ".join(sorted(UBUNTU))} " in *" $package "*) ;; *) echo "E: no package $package" >&2; exit 100;; esac
  [ -e "$STORE/$package" ] && ln -sf "$STORE/$package" "$BIN/$package"
done
exit 0""",
    "curl": """[ "$*" = "-LsSf https://astral.sh/uv/install.sh" ] || { echo "curl: (6) $*" >&2; exit 6; }
echo 'mkdir -p "$HOME/.local/bin" && ln -sf "$STORE/uv" "$HOME/.local/bin/uv"'""",
    "python3": """[ "$1" = --version ] && { echo Python 3.10.12; exit 0; }
echo "ERROR: Package 'bitparity' requires a different Python: 3.10.12 not in '>=3.11'" >&2; exit 1""",
    "nvidia-smi": '[ "$*" = -L ] || exit 2\n'
    + "\n".join(
        f"echo 'GPU {n}: NVIDIA RTX PRO 6000 Blackwell (UUID: {gpu})'\necho '  MIG 4g.96gb Device 0: (UUID: {name})'"
        for n, (gpu, name) in SLICES.items()
    ),
}
STORED = {
    "gcc": "exit 0",
    "g++": "exit 0",
    "bubblewrap": "exit 0",
    "git": """[ "$1" = clone ] && [ $# = 3 ] || { echo "usage: git clone URL FOLDER" >&2; exit 129; }
mkdir -p "$3" && cp -r "$CHECKOUT/examples" "$CHECKOUT/pyproject.toml" "$CHECKOUT/README.md" "$3" """,
    "uv": 'exec "$PYTHON" "$STORE/uv.py" "$@"',
    "pip": 'exec "$PYTHON" "$STORE/uv.py" pip "$@"',
}
UV = f"""import os, re, sys, tomllib
from pathlib import Path

def fail(text):
    sys.exit(f"error: {{text}}")

def installed(words):
    if words[:2] != ["install", "-e"] or len(words) != 3:
        fail(f"pip {{words}}")
    place, extras = re.fullmatch(r"([^\\[]+)(?:\\[([\\w,-]+)\\])?", words[2]).groups()
    project = tomllib.loads((Path(place) / "pyproject.toml").read_text())["project"]
    for extra in (extras or "").split(","):
        if extra and extra not in project["optional-dependencies"]:
            fail(f"the package has no extra {{extra}}")
    if "VIRTUAL_ENV" not in os.environ:
        fail("No virtual environment found")
    program = Path(os.environ["VIRTUAL_ENV"]) / "bin" / "bitparity"
    program.write_text('#!/bin/sh\\nexec "$PYTHON" "$CHECKOUT/tests/first_machine.py" "$@"\\n')
    program.chmod(0o755)

def venv(words):
    asked = dict(zip(words, words[1:] + [""]))
    if unknown := [w for w in words if w.startswith("-") and w not in {sorted(UV_OPTIONS)}]:
        fail(f"unexpected argument {{unknown[0]}}")
    if tuple(map(int, asked["--python"].split("."))) < (3, 11):
        fail("no such interpreter")
    folder = Path(".venv/bin")
    folder.mkdir(parents=True)
    own = folder.absolute()
    (folder / "activate").write_text(f'export VIRTUAL_ENV="{{own.parent}}" PATH="{{own}}:$PATH"\\n')

{{"venv": venv, "pip": installed}}[sys.argv[1]](sys.argv[2:])
"""


@pytest.fixture
def ubuntu(tmp_path: Path) -> dict[str, str]:
    """The variables of a first login on the double; its folders are made."""
    home, tools, store, data = (tmp_path / name for name in ("home", "bin", "store", "data"))
    for folder in (home, tools, store, data):
        folder.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    for folder, programs in ((tools, DOUBLES), (store, STORED)):
        for name, text in programs.items():
            (folder / name).write_text(f"#!/bin/bash\n{text}\n")
            (folder / name).chmod(0o755)
    (store / "uv.py").write_text(UV)
    source = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    return {
        **{"HOME": str(home), "USER": "me", "PATH": str(tools), "BIN": str(tools), "STORE": str(store)},
        **{"PYTHON": sys.executable, "CHECKOUT": str(ROOT), "PYTHONPATH": source, "DOUBLE_DATA": str(data)},
        **{"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "LANG": "C.UTF-8", "COLUMNS": "120"},
    }


def lines_of(page: Path) -> list[str]:
    """The lines of a page's blocks for a shell, in order."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [line for language, block in blocks if not language for line in block.splitlines() if line.strip()]


def follow(lines: list[str], environment: dict[str, str], place: Path) -> None:
    """Type the lines into one shell, each after the one before; every one must succeed."""
    ends = place / "ends"
    script = "".join(f"{line}\necho $? >> '{ends}'\n" for line in lines)
    ended = subprocess.run(
        ["bash", "--noprofile", "--norc"], input=script, env=environment, cwd=place, capture_output=True, text=True
    )
    codes = list(map(int, ends.read_text().split()))
    for line, code in zip(lines, codes, strict=True):
        allowed = (0, 1, 3) if OPEN_ENDS.match(line) else (0,)
        assert code in allowed, f"{line}: {code}\n{ended.stderr[-3000:]}{ended.stdout[-3000:]}"
    assert "Traceback" not in ended.stderr
    (place / "said").write_text(ended.stdout)


@pytest.mark.slow
def test_the_page_of_the_example(ubuntu: dict[str, str], tmp_path: Path) -> None:
    lines = lines_of(EXAMPLE)
    own = {"/data/$USER": f"{ubuntu['DOUBLE_DATA']}/$USER", "MIG-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx": SLICES[0][1]}
    for shown, meant in own.items():
        assert any(shown in line for line in lines)
        lines = [line.replace(shown, meant) for line in lines]
    follow(lines, ubuntu, tmp_path)
    said = (tmp_path / "said").read_text()
    for word in (SLICES[0][1], "math500", "linear_backend"):
        assert word in said, word
    assert "error" not in re.findall(r"^(\w+) ", said, re.MULTILINE), said


@pytest.mark.slow
def test_readme(ubuntu: dict[str, str], tmp_path: Path) -> None:
    page = ROOT / "README.md"
    lines = [line for line in lines_of(page) if not line.startswith("make ")]  # `make demo` runs as a job of its own
    (study,) = re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    (tmp_path / "study.yaml").write_text(study)
    (tmp_path / "pyproject.toml").symlink_to(ROOT / "pyproject.toml")
    (tmp_path / "results.md").write_text("| | NVFP4 | FP8 | BF16 |\n|---|---|---|---|\n| MATH-500 | | | |\n")
    environment = {**ubuntu, "VIRTUAL_ENV": str(tmp_path / ".venv"), "DOUBLE_ROOT_GB": "4000"}
    environment["CUDA_VISIBLE_DEVICES"] = SLICES[0][1]
    (tmp_path / "bin" / "gcc").symlink_to(Path(ubuntu["STORE"]) / "gcc")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    environment["PATH"] = f"{tmp_path / '.venv' / 'bin'}{os.pathsep}{ubuntu['PATH']}"
    (tmp_path / ".venv" / "bin" / "pip").symlink_to(Path(ubuntu["STORE"]) / "pip")
    own = "bitparity export artifacts/qwen3-32b --format lm-eval --out out"  # the logs that the last line compares
    at = next(n for n, line in enumerate(lines) if line.startswith("bitparity compare"))
    follow([*lines[:at], own, *lines[at:]], environment, tmp_path)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("bitparity nope", 127),
        ("uv venv --python 3.10", 127),
        ("sudo apt-get install -y nosuchpackage", 100),
        ("git clone URL x", 127),
        ("gcc --version", 127),
        ("cd nowhere", 1),
    ],
)
def test_the_double_refuses_what_is_not_there(ubuntu: dict[str, str], tmp_path: Path, line: str, code: int) -> None:
    with pytest.raises(AssertionError, match=rf"{re.escape(line)}: {code}\b"):
        follow([line], ubuntu, tmp_path)


def test_a_wrong_option_or_file_of_ours_is_found(ubuntu: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "bin" / "bitparity").write_text('#!/bin/sh\nexec "$PYTHON" "$CHECKOUT/tests/first_machine.py" "$@"\n')
    (tmp_path / "bin" / "bitparity").chmod(0o755)
    for line in ("bitparity plan study.yaml --nope", "bitparity doctor nowhere.yaml", "bitparity nope"):
        with pytest.raises(AssertionError, match=": 2\n"):
            follow([line], ubuntu, tmp_path)


def test_the_python_of_the_page_is_one_that_the_package_takes() -> None:
    requires = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    (asked,) = re.findall(r"uv venv --python (\d+\.\d+)", EXAMPLE.read_text())
    assert requires == ">=3.11"
    assert tuple(map(int, asked.split("."))) >= (3, 11)
