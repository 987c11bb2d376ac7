"""Programs that run inside the sandbox, beside a model's code. They need nothing but the standard library.

They are handed in as files and never imported by bitparity, but for `codec`, which both sides use. None
of them ever sees an expected output: values go out, and the comparison happens outside.
"""

from importlib import resources


def source(name: str) -> bytes:
    """The text of one of these programs."""
    return (resources.files(__package__) / name).read_bytes()
