"""Caller of one function of `solution.py`: each input in turn, one line of output a call.

stdin: a JSON object {"function", "limit", "inputs"}; `limit` is in CPU seconds a call, after which the process is
killed by SIGPROF, which no program can catch in time. A line is ["v", packed value] or ["e", kind of exception].
"""

import os
import signal
import sys


def main() -> None:
    sys.path.insert(0, ".")
    import codec

    say, asked = codec.take_over()
    sys.set_int_max_str_digits(0)
    start(asked["limit"])
    text = open("solution.py").read()
    module = codec.module_of(open("prelude.py").read(), text)
    for given in asked["inputs"]:
        start(asked["limit"])
        try:
            # a fresh object for each test, as the platform itself does
            owner = module.Solution() if "class Solution" in text else module
            line = ["v", codec.dumps(getattr(owner, asked["function"])(*given))]
        except BaseException as error:
            line = ["e", type(error).__name__]
        say(line)
        if line[0] == "e":
            break
    os._exit(0)  # a thread of the program's that never ends is no concern of ours


def start(limit: float) -> None:
    """Give what follows its time."""
    signal.setitimer(signal.ITIMER_PROF, limit)
    # for a call that sleeps
    signal.setitimer(signal.ITIMER_REAL, 5 * limit + 10)


main()
