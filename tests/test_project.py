"""The project's own files agree with each other, and its workflows' scripts work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import bitparity

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ADDRESS = "https://forge.example/owner/bitparity"
TOP = ("pyproject.toml", "README.md", "CHANGELOG.md", "CITATION.cff")


def workflow(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    return found


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A checkout with a version that is ready to be released, as far as the script looks at one."""
    for name in (*TOP, "tools/release.py", "src/bitparity/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    changes = tmp_path / "CHANGELOG.md"
    version = bitparity.__version__
    changes.write_text(f"# Changelog\n\n## {version} - 2026-12-01\n\n- One thing.\n\n## 0.0.9\n\n- Another.\n")
    return tmp_path


def run(checkout: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(checkout / "tools" / "release.py"), *words]
    return subprocess.run(command, capture_output=True, text=True)


def test_a_release_knows_its_address_and_links_that_lead_there(release: Path) -> None:
    tag = f"v{bitparity.__version__}"
    ended = run(release, ADDRESS, tag)
    assert ended.returncode == 0, ended.stderr
    urls = tomllib.loads((release / "pyproject.toml").read_text())["project"]["urls"]
    assert (urls["Homepage"], urls["Issues"]) == (ADDRESS, f"{ADDRESS}/issues")
    readme = (release / "README.md").read_text()
    targets = re.findall(r"\]\(([^)\s]+)\)", readme)
    assert targets
    assert all(target.startswith("https://") for target in targets)
    (picture,) = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", readme)
    assert (ROOT / picture.removeprefix(f"{ADDRESS}/raw/{tag}/")).is_file()
    for page in targets:
        if page.startswith(f"{ADDRESS}/blob/{tag}/"):
            assert (ROOT / page.removeprefix(f"{ADDRESS}/blob/{tag}/").partition("#")[0]).exists(), page


def test_the_notes_of_a_release_are_its_part_of_the_changelog(release: Path) -> None:
    assert run(release, "--notes", f"v{bitparity.__version__}").stdout == "- One thing.\n"


@pytest.mark.parametrize("tag", ["v9.9.9", bitparity.__version__, "v", "v0.1"])
def test_a_tag_that_is_not_the_version_ends_the_release(release: Path, tag: str) -> None:
    before = {name: (release / name).read_bytes() for name in TOP}
    ended = run(release, ADDRESS, tag)
    assert ended.returncode != 0
    assert f"the tag {tag} is not the version" in ended.stderr
    assert before == {name: (release / name).read_bytes() for name in TOP}


def test_a_changelog_without_the_version_ends_the_release(release: Path) -> None:
    (release / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    assert "CHANGELOG.md" in run(release, ADDRESS, f"v{bitparity.__version__}").stderr


def test_every_file_of_the_package_is_in_the_wheel() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["bitparity"]
    package = ROOT / "src" / "bitparity"
    packed = {path for pattern in patterns for path in package.glob(pattern)} | set(package.rglob("*.py"))
    files = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert files - packed == set()


def test_the_citation_has_the_version_and_the_licence() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (bitparity.__version__, PROJECT["license"])


def test_the_pythons_that_are_promised_are_those_that_are_tested() -> None:
    said = [c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)]
    matrix = workflow("tests")["jobs"]["tests"]["strategy"]["matrix"]
    assert matrix["python"] == said
    assert PROJECT["requires-python"] == f">={said[0]}"
    assert {"arm" in runner for runner in matrix["runner"]} == {True, False}


def test_the_image_copies_files_that_are_there_and_asks_for_extras_that_exist() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.M) for name in line.split()]
    assert copied
    assert all((ROOT / name).exists() for name in copied)
    kept = (ROOT / ".dockerignore").read_text().split()
    assert {f"!{name}" for name in copied} <= set(kept)
    (extras,) = re.findall(r"/src\[([^\]]+)\]", text)
    assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys()


def test_only_the_job_that_publishes_may_sign() -> None:
    jobs = workflow("release")["jobs"]
    assert {name for name, job in jobs.items() if "id-token" in job.get("permissions", {})} == {"publish"}
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert "secrets." not in text  # trusted publishing: no token is kept


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / ".github" / "workflows").glob("*.yml")))
def test_a_script_of_a_workflow_is_one_that_bash_reads(name: str) -> None:
    for job in workflow(name)["jobs"].values():
        for step in job.get("steps", []):
            if "run" in step:
                assert "${{" not in step["run"]  # values of others reach a script as variables only
                script = step["run"]
                assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).returncode == 0
