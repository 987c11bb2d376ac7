"""Questions to the Hugging Face hub and its cache: sizes, small files, access; never weights."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

from bitparity.models.hub import TIMEOUT, told_offline, unreachable

Kind = Literal["model", "dataset"]

SMALL_FILES = (
    "config.json",
    "hf_quant_config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_WEIGHTS = (".safetensors", ".bin")
NO_ANSWER = "the hub did not answer"


class Hub:
    """The hub through `huggingface_hub`, which is imported late: many studies need nothing from it."""

    # methods, since another hub may answer differently
    offline = staticmethod(told_offline)
    unreachable = staticmethod(unreachable)

    def token(self) -> bool:
        """True where HF_TOKEN or a stored login gives a token."""
        from huggingface_hub import get_token

        return get_token() is not None

    def cache(self) -> Path:
        """The folder of downloads: HF_HUB_CACHE, or `hub` in HF_HOME, which is in XDG_CACHE_HOME by default."""
        home = os.environ.get("HF_HOME") or cache_home(os.environ.get("XDG_CACHE_HOME")) / "huggingface"
        return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()

    def cached(self, repo: str, kind: Kind, revision: str | None) -> Path | None:
        """The folder of a repository in the cache; None where nothing of it is there."""
        try:
            from huggingface_hub import snapshot_download

            return Path(snapshot_download(repo, repo_type=kind, revision=revision, local_files_only=True))
        except Exception:  # not installed, not cached, or no repository's name: the library raises several kinds
            return None

    def small_files(self, repo: str, revision: str | None) -> Path | None:
        """A folder with the model's configuration files, fetched where needed; None where that fails."""
        from huggingface_hub import hf_hub_download

        folder = None
        for name in SMALL_FILES:
            with contextlib.suppress(Exception):  # absent, gated or unreachable: access is told apart by `refusal`
                folder = Path(hf_hub_download(repo, name, revision=revision, etag_timeout=TIMEOUT)).parent
        return folder if folder and (folder / "config.json").exists() else None

    def weight_bytes(self, repo: str, revision: str | None) -> int | None:
        """The size of a model's weights on the hub, in bytes; None where it does not tell."""
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
        except Exception:  # no metadata, no answer: an unknown size is said to be unknown
            return None
        # the files of the model itself: in folders lie other formats of the same weights
        files = [f for f in info.siblings or [] if "/" not in f.rfilename and f.rfilename.endswith(_WEIGHTS)]
        safe = [f for f in files if f.rfilename.endswith(".safetensors")]
        return sum(f.size or 0 for f in safe or files) or None

    def refusal(self, repo: str, kind: Kind) -> str | None:
        """The reason why this account cannot read a repository; None where it can."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        try:
            HfApi().auth_check(repo, repo_type=kind)
        except GatedRepoError:
            return "it is gated and this account has no access"
        except RepositoryNotFoundError:
            return "it is not on the hub, or is private"
        except Exception as error:  # a network's fault may come as anything
            return f"{NO_ANSWER} ({type(error).__name__})"
        return None


def cache_home(value: str | None) -> Path:
    """The folder of caches: the value of XDG_CACHE_HOME, or its default."""
    return Path(value) if value else Path.home() / ".cache"
