"""What a release alone knows: its address, in the metadata and in the README's links, and its notes.

`python tools/release.py ADDRESS TAG` changes pyproject.toml and README.md of this checkout, so that the project's page
on an index has links and a picture that lead somewhere: to this tag, in the repository that builds the release.
`python tools/release.py --notes TAG` prints the tag's part of CHANGELOG.md.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    "Homepage": "",
    "Documentation": "/tree/{tag}/docs",
    "Changelog": "/blob/{tag}/CHANGELOG.md",
    "Issues": "/issues",
}


def main(words: list[str]) -> None:
    """Do what the words of the command line ask."""
    if len(words) == 2 and words[0] == "--notes":
        print(notes(checked(words[1])))
    elif len(words) == 2 and words[0].startswith("https://"):
        prepare(words[0].rstrip("/"), checked(words[1]))
    else:
        sys.exit("usage: release.py https://HOST/OWNER/NAME TAG, or release.py --notes TAG")


def checked(tag: str) -> str:
    """The tag, where the package, CITATION.cff and CHANGELOG.md all have its version; else the program ends."""
    version = tag.removeprefix("v")
    wanted = {
        "src/bitparity/__init__.py": f'^__version__ = "{re.escape(version)}"$',
        "CITATION.cff": f"^version: {re.escape(version)}$",
        "CHANGELOG.md": rf"^## {re.escape(version)}\b",
    }
    for name, line in wanted.items():
        if tag != f"v{version}" or not re.search(line, (ROOT / name).read_text("utf-8"), re.MULTILINE):
            sys.exit(f"the tag {tag} is not the version in {name}; set the version there, or give another tag")
    return tag


def prepare(address: str, tag: str) -> None:
    """Write the project's URLs into pyproject.toml and make the links of README.md absolute."""
    urls = "".join(f'{name} = "{address}{page.format(tag=tag)}"\n' for name, page in PAGES.items())
    project = ROOT / "pyproject.toml"
    project.write_text(f"{project.read_text('utf-8')}\n[project.urls]\n{urls}", "utf-8")
    readme = ROOT / "README.md"
    readme.write_text(absolute(readme.read_text("utf-8"), address, tag), "utf-8")


def absolute(text: str, address: str, tag: str) -> str:
    """Markdown with its relative links to files leading to the tag; a picture to the file itself."""

    def linked(found: re.Match[str]) -> str:
        view = "raw" if found[1] else "blob"
        return f"{found[1]}[{found[2]}]({address}/{view}/{tag}/{found[3]})"

    return re.sub(r"(!?)\[([^\]]*)\]\((?!https?:|#)([^)\s]+)\)", linked, text)


def notes(tag: str) -> str:
    """The part of CHANGELOG.md on the tag's version."""
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    heading = rf"^## {re.escape(tag.removeprefix('v'))}\b[^\n]*\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


if __name__ == "__main__":
    main(sys.argv[1:])
