"""Calls of HumanEval's tests: recorded, answered with a model's code, and the answers replayed.

argv[1] names the part: `record` and `replay` run the data set's own tests, once with the reference and once with
recorded answers in the place of the function; `answer` runs the model's code on the recorded arguments and never
sees a test. stdin and stdout hold JSON.
"""

import contextlib
import copy
import os
import random
import sys


def main(part: str) -> None:
    sys.path.insert(0, ".")
    import codec

    say, asked = codec.take_over()
    if part != "replay":  # there a value of the model's own could make a test write out millions of digits
        sys.set_int_max_str_digits(0)
    say({"record": record, "answer": answer, "replay": replay}[part](codec, asked))
    # a thread of the model's code that never ends is no concern of ours
    os._exit(0)


def run_tests(codec, asked, make_candidate):
    """Run the data set's test with `make_candidate(reference)` in the place of the function."""
    random.seed(0)  # some tests draw their inputs
    space = codec.module_of(asked["code"]).__dict__  # tests use the helpers of the prompt
    function = space[asked["function"]]
    exec(compile(asked["test"], "test.py", "exec", dont_inherit=True), space)
    space["check"](make_candidate(function))


def record(codec, asked):
    """The arguments of every call, in order."""
    calls = []

    def recording(function):
        def candidate(*given):
            calls.append(codec.dumps(list(given)))
            return function(*copy.deepcopy(given))

        return candidate

    run_tests(codec, asked, recording)
    return calls


def answer(codec, asked):
    """A packed value, or the kind of an exception, for every call until the first exception."""
    function = getattr(codec.module_of(asked["code"]), asked["function"])
    made = []
    for call in asked["calls"]:
        try:
            made.append(["v", codec.dumps(function(*codec.loads(call)))])
        except BaseException as error:
            made.append(["e", type(error).__name__])
            break
    return made


def replay(codec, asked):
    """The tests' verdict on the recorded answers: "pass", or the kind of the first exception."""
    answers, calls = iter(asked["answers"]), iter(asked["calls"])

    def candidate(*given):
        kind, value = next(answers)
        if codec.dumps(list(given)) != next(calls) or kind == "e":
            raise RuntimeError(value)
        return codec.loads(value)

    try:
        run_tests(codec, asked, lambda _: candidate)
    except Exception as error:
        return type(error).__name__
    return "pass"


with contextlib.suppress(BrokenPipeError):
    main(sys.argv[1])
