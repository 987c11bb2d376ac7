"""Signature of a manifest by an SSH key, made and checked by OpenSSH's `ssh-keygen -Y` (8.2 or newer)."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

from bitparity.errors import EvidenceError, UserInputError
from bitparity.inputs.input_files import open_regular, read_regular

NAMESPACE = "bitparity-evidence"  # so that a signature for something else is none here
_SEALER = "sealer"
_PUBLIC = re.compile(r"(sk-)?(ssh|ecdsa)-[a-z0-9@.-]+ [A-Za-z0-9+/]+=*( .*)?")
_MOST_KEYS = 2**20  # bytes
_ABSENT = "ssh-keygen is not installed; install OpenSSH's client"


def sign(content: bytes, key: Path) -> bytes:
    """The signature of these bytes by the private key in a file, or by the agent's key of this public one.

    Raises UserInputError where the key cannot sign.
    """
    remedy = "give the file of an SSH key, as ssh-keygen makes it"
    try:
        open_regular(key).close()  # for a pipe ssh-keygen would wait
    except OSError as error:
        raise UserInputError(f"{key} cannot sign: {error.strerror}; {remedy}") from None
    try:
        ended = _keygen(content, "sign", "-f", str(key.absolute()))
    except FileNotFoundError:
        raise UserInputError(f"a signature needs ssh-keygen: {_ABSENT}, or seal without --key") from None
    if ended.returncode or not ended.stdout:
        raise UserInputError(f"{key} cannot sign: {_said(ended)}; {remedy}")
    return ended.stdout


def check_signature(content: bytes, signature: bytes | None, keys: Path | None, origin: Path) -> str:
    """The meaning of a signature, in words. With `keys`, a file of public keys, one of them must have made it.

    Raises EvidenceError where the signature does not fit, or a key is asked for and there is none.
    """
    if signature is None:
        if keys is not None:
            raise EvidenceError(f"{origin} is refused: it is not signed, and --key asks for a signature")
        return "none: the file may come from anybody"
    # ssh-keygen reads signature and keys from files only, and the signed text from its input
    with tempfile.TemporaryDirectory(prefix="bitparity-") as place:
        given, allowed = Path(place) / "signature", Path(place) / "allowed"
        given.write_bytes(signature)
        verb = ["check-novalidate"]  # that the signature fits, by whomever
        if keys is not None:
            allowed.write_text("".join(f"{_SEALER} {key}\n" for key in _public_keys(keys)), encoding="utf-8")
            verb = ["verify", "-I", _SEALER, "-f", str(allowed)]
        try:
            ended = _keygen(content, *verb, "-s", str(given))
        except FileNotFoundError:
            if keys is not None:
                raise UserInputError(f"--key needs ssh-keygen: {_ABSENT}") from None
            return f"there is one, which was not checked: {_ABSENT}"
    if ended.returncode:
        raise EvidenceError(f"{origin} is refused: its signature is not of this manifest by such a key: {_said(ended)}")
    made_by = re.sub(r"^Good .* with ", "", _said(ended))
    return f"good, by the {made_by}, " + (
        "which --key names" if keys is not None else "whose owner nothing here tells: give --key with a key you trust"
    )


def _public_keys(path: Path) -> list[str]:
    try:
        lines = read_regular(path, _MOST_KEYS).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserInputError(f"--key {path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    keys = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    if not keys or not all(map(_PUBLIC.fullmatch, keys)):
        raise UserInputError(f"--key {path} holds no public keys; give a file like id_ed25519.pub, one key a line")
    return keys


def _keygen(content: bytes, verb: str, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", "-Y", verb, "-n", NAMESPACE, *options]
    return subprocess.run(command, input=content, capture_output=True, check=False)


def _said(ended: subprocess.CompletedProcess[bytes]) -> str:
    """The last line that the program wrote."""
    lines = (ended.stdout + b"\n" + ended.stderr).decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {ended.returncode}")
