"""Comparison of what a step's tests computed with the targets. No model's code is here.

stdin: {"targets", "step", "dependencies", "tests": [{"outside", "checks"}], "values": [[test, check, packed], ...]}.
Writes [number of the first test that does not hold, from 1, or 0; reason; the same number by upstream's rule]. Upstream
lets a comparison hold that compares nothing: np.allclose([], 3.0) is True. Here such a test does not hold.
"""

import os
import sys

import h5py
import scipy.sparse

NOTHING = "compares nothing"


def main() -> None:
    sys.path.insert(0, os.getcwd())
    import codec

    say, asked = codec.take_over()
    say(verdict(codec, asked))
    os._exit(0)


def verdict(codec, asked):
    from scicode.compare import cmp

    cmp.watch()
    ours, space = [], {"__name__": "checks"}
    exec(asked["dependencies"], space)
    values = {}
    for test, check, packed in asked["values"]:
        values.setdefault((test, check), []).append(packed)
    with h5py.File(asked["targets"], "r") as file:
        for number, test in enumerate(asked["tests"]):
            if test["target"]:
                space["target"] = target(file[f"{asked['step']}/test{number + 1}"])
            exec(test["outside"], space)
            for check, expression in enumerate(test["checks"]):
                given = values.get((number, check), [])
                reason = "" if given else "not computed"
                try:
                    held = bool(given)
                    for packed in given:
                        made = codec.loads(packed, arrays=True)
                        held = held and bool(eval(expression, space, {"__v": made}))
                        if cmp.is_hollow(made, space.get("target") if test["target"] else None):
                            reason = NOTHING
                except Exception as error:
                    held, reason = False, type(error).__name__
                if not (ours or (held and not reason)):
                    ours = [number + 1, reason]
                if not held:
                    return [*ours, number + 1]
    return [*(ours or [0, ""]), 0]


def target(group):
    """One variable is its value, several are a tuple."""
    found = [value_of(group[key]) for key in group]
    return found[0] if len(found) == 1 else tuple(found)


def value_of(node):
    if isinstance(node, h5py.Dataset):
        return plain(node[()])
    first = next(iter(node), None)
    if first == "list":
        return [node[first][part][()] for part in node[first]]
    if first == "sparse_matrix":
        return matrix(node[first])
    return {number(key): dict_value(part) for key, part in node.items()}


def dict_value(node):
    return matrix(node["sparse_matrix"]) if isinstance(node, h5py.Group) else plain(node[()])


def number(key):
    try:
        return float(key)
    except ValueError:
        return key


def plain(value):
    return value.decode("utf-8") if isinstance(value, bytes) else value


def matrix(group):
    data, shape = group["data"][()], tuple(group["shape"][()])
    if "row" in group and "col" in group:
        return scipy.sparse.coo_matrix((data, (group["row"][()], group["col"][()])), shape=shape)
    parts = (data, group["indices"][()], group["indptr"][()])
    if "blocksize" in group:
        return scipy.sparse.bsr_matrix(parts, shape=shape, blocksize=tuple(group["blocksize"][()]))
    return scipy.sparse.csr_matrix(parts, shape=shape)


main()
