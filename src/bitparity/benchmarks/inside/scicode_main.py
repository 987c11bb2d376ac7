"""Runner of a step's code and its tests' computations: values to compare go out, one line each; no target comes in.

stdin: {"program", "tests"}; a line is [test, check, packed values], [test, "end"] after a test, or ["e", exception].
"""

import os
import sys


def main() -> None:
    sys.path.insert(0, os.getcwd())
    import codec

    say, asked = codec.take_over()
    try:
        space = codec.module_of(asked["program"]).__dict__
        for number, test in enumerate(asked["tests"]):
            space["__emit__"] = lambda check, *values, number=number: say([number, check, codec.dumps(list(values))])
            exec(compile(test, f"test{number + 1}.py", "exec", dont_inherit=True), space)
            say([number, "end"])
    except BaseException as error:
        say(["e", type(error).__name__])
    os._exit(0)


main()
