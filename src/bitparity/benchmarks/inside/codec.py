"""Values as JSON text and back, so that what a program computed can be compared outside of it.

Lists are JSON arrays; other containers are objects with one tag: `t` tuple, `s` set, `d` dict as pairs, `b` bytes,
`i` a long integer, `c` complex, `q` a fraction or decimal, `a` a numpy array, `sp` a scipy matrix, `y` a sympy
expression as text. Anything else is `o` with its type's name, which equals nothing. Decoding makes plain values only:
no code of the program's comes along, so an object that claims to equal everything does not.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import types
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

MAX_DIGITS = 4300  # of an integer in decimal digits, as Python's own limit; reading them takes quadratic time
MAX_BITS = 14_000  # longer integers travel in hexadecimal digits, which take linear time
_MEMBERS: dict[Any, str] = {tuple: "t", set: "s", frozenset: "s"}  # containers that are a list with a tag
MAX_SAME_HASH = 100  # members of one hash; values that no one chose for it have a handful


class Opaque:
    """A value that cannot be told outside; equal to nothing, itself included."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __eq__(self, other: object) -> bool:
        return False

    def __repr__(self) -> str:
        return f"<{self.kind}>"


def take_over() -> tuple[Callable[[Any], None], Any]:
    """(writer of a JSON value as a line of this program's own, what it is asked). Called before any code of a model's.

    That code prints and reads nothing: its standard input and output lead nowhere.
    """
    channel = os.fdopen(os.dup(1), "w", encoding="ascii")
    asked = json.loads(sys.stdin.buffer.read())
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)

    def say(value: Any) -> None:
        channel.write(json.dumps(value) + "\n")
        channel.flush()

    return say, asked


def module_of(*texts: str) -> types.ModuleType:
    """The module `solution`, made of source texts one after the other; it is there before they run."""
    sys.modules["solution"] = module = types.ModuleType("solution")
    for text in texts:
        # without the future statement of this file
        exec(compile(text, "solution.py", "exec", dont_inherit=True), module.__dict__)
    return module


def dumps(value: Any) -> str:
    """One line of text. Raises ValueError or RecursionError where the value has no end."""
    return json.dumps(_packed(value), ensure_ascii=True, separators=(",", ":"))


def loads(text: str | bytes, arrays: bool = False) -> Any:
    """The value of a line of text; `arrays` makes numpy arrays, which are opaque otherwise.

    Raises ValueError for what `dumps` does not write, and for what only a hostile program does: an integer too long to
    read in linear time, and members of a set or dict that have one hash.
    """
    try:
        return _unpacked(json.loads(text, parse_int=_integer), arrays)
    except Exception as error:  # the line may hold anything
        raise ValueError(f"no packed value ({type(error).__name__})") from None


def _packed(value: Any) -> Any:  # one case a type, in the order of how often they come
    # each type's own methods are called: those of a subclass, which the program may have made, could do anything
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        plain = int.__index__(value)
        return plain if plain.bit_length() < MAX_BITS else {"i": hex(plain)}
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [_packed(v) for v in list.__iter__(value)]
    if isinstance(value, dict):
        return {"d": [[_packed(k), _packed(v)] for k, v in dict.items(value)]}
    for kind, tag in _MEMBERS.items():
        if isinstance(value, kind):
            return {tag: [_packed(v) for v in kind.__iter__(value)]}
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    if isinstance(value, bytes | bytearray):
        return {"b": bytes(value).hex()}
    if isinstance(value, Fraction) or (isinstance(value, Decimal) and value.is_finite()):
        return {"q": [str(n) for n in value.as_integer_ratio()]}
    return _packed_array(value)


def _packed_array(value: Any) -> Any:
    loaded: Any = sys.modules.get
    numpy, sparse, sympy = loaded("numpy"), loaded("scipy.sparse"), loaded("sympy")
    if numpy is not None and isinstance(value, numpy.generic):
        plain = value.item()
        return _packed(float(plain) if isinstance(plain, numpy.generic) else plain)
    if numpy is not None and isinstance(value, numpy.ndarray):
        return _packed_numbers(numpy, value)
    if sparse is not None and sparse.issparse(value):
        coo = value.tocoo()
        parts = [_packed_array(numpy.asarray(part)) for part in (coo.data, coo.row, coo.col)]
        return {"sp": [value.format, [int(n) for n in value.shape], *parts]}
    if sympy is not None and isinstance(value, sympy.Basic):
        return {"y": str(value)}
    return {"o": type(value).__name__}


def _packed_numbers(numpy: Any, value: Any) -> Any:
    if value.dtype.kind == "O":
        return {"a": ["O", list(value.shape), [_packed(v) for v in value.ravel().tolist()]]}
    if value.dtype.kind not in "biufcUS":
        return {"o": f"array of {value.dtype}"}
    # long doubles, whose size depends on the machine
    if value.dtype.char in "gG":
        value = value.astype(complex if value.dtype.char == "G" else float)
    plain = numpy.array(value, order="C", copy=True, subok=False)
    return {"a": [plain.dtype.str, list(plain.shape), base64.b64encode(plain.tobytes()).decode("ascii")]}


def _unpacked(value: Any, arrays: bool) -> Any:
    if isinstance(value, list):
        return [_unpacked(v, arrays) for v in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "t":
        return tuple(_unpacked(v, arrays) for v in content)
    if tag == "d":
        keys = _keys([k for k, _ in content], arrays)
        return dict(zip(keys, [_unpacked(v, arrays) for _, v in content], strict=True))
    if tag == "s":
        return set(_keys(content, arrays))
    if tag == "c":
        return complex(*content)
    if tag == "b":
        return bytes.fromhex(content)
    if tag == "q":
        return Fraction(_integer(content[0]), _integer(content[1]))
    if tag == "i":
        return int(content, 16)
    if tag == "y":
        return str(content)
    if arrays and tag in ("a", "sp"):
        return _array(content) if tag == "a" else _sparse(*content)
    return Opaque(str(content) if tag == "o" else "array")


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("too many digits")
    return int(digits)


def _keys(packed: list[Any], arrays: bool) -> list[Any]:
    """Members of a set or keys of a dict. Raises ValueError where so many have one hash that a table would be slow."""
    keys = [_key(_unpacked(value, arrays)) for value in packed]
    if max(Counter(map(hash, keys)).values(), default=0) > MAX_SAME_HASH:
        raise ValueError("colliding members")
    return keys


def _key(value: Any) -> Any:
    """A member of a set or key of a dict: hashable, or a stranger of its own."""
    try:
        hash(value)
    except TypeError:
        return object()
    return value


def _array(content: Any) -> Any:
    import numpy

    kind, shape, data = content
    if kind == "O":
        made = numpy.empty(len(data), dtype=object)
        made[:] = [_unpacked(v, True) for v in data]
        return made.reshape(shape)
    return numpy.frombuffer(base64.b64decode(data), dtype=numpy.dtype(kind)).reshape(shape).copy()


def _sparse(kind: str, shape: Any, *parts: Any) -> Any:
    from scipy import sparse

    data, row, column = (_array(part["a"]) for part in parts)
    matrix = sparse.coo_matrix((data, (row, column)), shape=tuple(shape))
    return matrix if kind == "coo" else matrix.asformat(kind if kind in ("csr", "csc", "bsr") else "csr")
