"""The tree of errors. Each message says what is wrong, the likely cause and the remedy.

```
BitparityError                exit code 3
├── UserInputError            exit code 2: something the user gave cannot be used
│   ├── StudyError            the study file
│   ├── DataError             a data file or data set
│   │   └── UnavailableError  what one benchmark needs is not on this machine
│   │       └── GatedDataError    a data set whose owner has not let this account in
│   ├── ModelError            a model folder, tokenizer or chat template
│   │   └── ChangedModelError   its files are no longer those that the run was started with
│   ├── RunError              the run directory: another study, another process, not writable
│   ├── EvidenceError         a sealed file: damaged, changed, or at odds with what follows from its content
│   └── MissingDependencyError  an optional package is absent
├── EngineError               an engine died or could not start; what was finished is kept
├── StoreError                a record could not be written or read; what was finished is kept
│   └── DiskFullError         there is no room for a record; it can be written once there is
└── SandboxError              model-written code cannot be confined on this machine, so none is run
```
"""

import sys

EXIT_WORSE = 1  # a candidate is worse beyond its margin
EXIT_INPUT = 2  # bad input or usage
EXIT_OPEN = 3  # incomplete, invalid or inconclusive


class BitparityError(Exception):
    """Base of all errors that bitparity raises on purpose; `exit_code` is what the command ends with."""

    exit_code = EXIT_OPEN


class UserInputError(BitparityError):
    """Something the user gave cannot be used."""

    exit_code = EXIT_INPUT


class StudyError(UserInputError):
    """The study file is wrong."""


class DataError(UserInputError):
    """A data file or data set is missing, broken or of another kind."""


class UnavailableError(DataError):
    """One benchmark cannot be run on this machine as it is; the others can."""


class GatedDataError(UnavailableError):
    """A gated data set that this account may not read yet; the message has the two steps that give access."""

    def __init__(self, dataset: str) -> None:
        super().__init__(
            f"data set {dataset} is gated and this account has no access. "
            f"1. Accept its conditions at https://huggingface.co/datasets/{dataset} with your account. "
            "2. Give that account's token to this host: hf auth login, or the variable HF_TOKEN"
        )


class ModelError(UserInputError):
    """A model folder, its tokenizer or its chat template cannot be used as the study asks."""


class ChangedModelError(ModelError):
    """An engine loaded other files than the run has looked at; it costs that variant only."""


class RunError(UserInputError):
    """The run directory belongs to another study or process, or cannot be used."""


class EvidenceError(UserInputError):
    """A sealed file was damaged or changed, or says something else than what follows from its content."""


def install_command(extra: str) -> str:
    """The command that adds an extra of bitparity to this environment, from where bitparity itself was installed.

    That place stands in the installation's direct_url.json (PEP 610): a clone's folder, a wheel's file or an address.
    An environment of uvx lasts for one command, so there it is that command with the extra.
    """
    import json  # late: few commands come here, and each pays for what is imported above
    from importlib import metadata
    from urllib.parse import unquote, urlsplit

    try:
        told = json.loads(metadata.distribution("bitparity").read_text("direct_url.json") or "{}")
    except (metadata.PackageNotFoundError, ValueError):
        told = {}
    url = str(told.get("url", ""))
    place = unquote(urlsplit(url).path) if url.startswith("file:") else ""
    wanted = f"'{place}[{extra}]'" if place else f"'bitparity[{extra}]{f' @ {url}' if url else ''}'"
    if told.get("dir_info", {}).get("editable"):
        return f"pip install -e {wanted}"
    return _of_environment().format(wanted)


def _of_environment() -> str:
    """The command of the tool that made this environment, with {} for what to install."""
    import shlex
    from pathlib import Path

    prefix = Path(sys.prefix)
    if (prefix / "pipx_metadata.json").exists():
        return "pipx install --force {}"
    if (prefix / "uv-receipt.toml").exists():
        return "uv tool install --force {}"
    if prefix.parent.name.startswith("archive-v"):  # of uv's cache
        again = shlex.join(sys.argv[1:]).replace("{", "{{").replace("}", "}}")
        return f"uvx --from {{}} bitparity {again}"
    return "pip install {}"


class MissingDependencyError(UserInputError):
    """An optional package is absent."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. "
            f"Install it with: {install_command(extra)}"
        )


class EngineError(BitparityError):
    """An engine could not start or died; finished samples are kept, the same command goes on.

    `out_of_memory` tells that memory was what it lacked, so that asking less of it at once may help; `again` that the
    same engine may do better at another start: it died at work, or was killed or hung while it was loading.
    """

    def __init__(self, message: str, *, out_of_memory: bool = False, again: bool = False) -> None:
        super().__init__(message)
        self.out_of_memory = out_of_memory
        self.again = again


class StoreError(BitparityError):
    """A record could not be written or read back; finished samples are kept."""


class DiskFullError(StoreError):
    """There is no room for a record; it can be written once there is."""


class SandboxError(BitparityError):
    """Model-written code cannot be confined on this machine; none of it is run."""
