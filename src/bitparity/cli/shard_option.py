"""Option --shard: the part of a study that "I/N" names, and where it lies."""

from __future__ import annotations

import re
from pathlib import Path

from bitparity.errors import UserInputError
from bitparity.generation.shards import Shard
from bitparity.schema import Study

SHARDS_FOLDER = "shards"


def parse_shard(text: str) -> Shard:
    """The shard that "I/N" names. Raises UserInputError."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserInputError(f"--shard '{text}' is no part of a whole; write 1/8 to 8/8 for eight shards")
    return Shard(int(found[1]), int(found[2]))


def shard_path(study: Study, shard: Shard) -> Path:
    """The default run directory of a shard."""
    return Path("artifacts") / study.name / SHARDS_FOLDER / f"{shard.index}-of-{shard.of}"
