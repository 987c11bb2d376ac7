"""The comparisons that SciCode's tests import from `scicode.compare.cmp`, with upstream's tolerances.

Dictionaries have the same keys and close values, sequences the same length and close members; a sympy symbol
counts as its name. Matches src/scicode/compare/cmp.py at commit cea505309e6650c806718f2bfb4385366a96c590.
"""

import numpy as np
import scipy.sparse

COMPARED_NOTHING = []  # comparisons of numpy, while they are watched, whose sides had members and none, and so no pair


def are_dicts_close(dict1, dict2, atol=1e-8, rtol=1e-5):
    first, second = _plain(dict1), _plain(dict2)
    if first.keys() != second.keys():
        return False
    return all(_close(value, second[key], atol, rtol) for key, value in first.items())


def are_csc_matrix_close(matrix1, matrix2):
    return np.allclose(matrix1.toarray(), matrix2.toarray())


def cmp_tuple_or_list(var1, var2):
    if len(var1) != len(var2):
        return False
    for one, other in zip(var1, var2):  # noqa: B905
        if isinstance(one, dict):
            same = are_dicts_close(one, other)
        elif isinstance(one, bool):
            same = one == other
        else:
            same = _close(one, other, 1e-8, 1e-5)
        if not same:
            return False
    return True


def watch():
    """Have numpy's comparisons tell where they compare nothing."""
    np.allclose, np.isclose = _watched(np.allclose), _watched(np.isclose)


def _watched(compare):
    def watched(one, other, *more, **options):
        if (np.size(one) == 0) != (np.size(other) == 0):
            COMPARED_NOTHING.append(compare)
        return compare(one, other, *more, **options)

    return watched


def is_hollow(values, target):
    """True where a comparison since the last call compared nothing, or a value is without members that are numbers.

    A value may be empty where the target is, in whole or in part.
    """
    seen = bool(COMPARED_NOTHING)
    COMPARED_NOTHING.clear()
    return seen or any(_nan(value) for value in values) or (bool(values) and _empty(values) and not _empty(target))


def _empty(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return not value or any(_empty(part) for part in value)
    return 0 in getattr(value, "shape", ())


def _nan(value):
    try:
        return bool(np.size(value)) and bool(np.all(np.isnan(value)))
    except (TypeError, ValueError):
        return False


def _close(one, other, atol, rtol):
    if isinstance(one, str):
        return one == other
    if scipy.sparse.issparse(one):
        one, other = one.toarray(), other.toarray()
    try:
        return bool(np.allclose(one, other, atol=atol, rtol=rtol))
    except ValueError:
        return bool(one == other)


def _plain(mapping):
    return {_name(key): _name(value) for key, value in mapping.items()}


def _name(value):
    return str(value) if type(value).__name__ == "Symbol" else value
