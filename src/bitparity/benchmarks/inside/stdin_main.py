"""Runner of `solution.py` as a main program, with LiveCodeBench's names there beforehand.

As upstream does, a SystemExit is taken for the end of the program, whatever its code.
"""

import resource

resource.setrlimit(resource.RLIMIT_STACK, (resource.getrlimit(resource.RLIMIT_STACK)[1],) * 2)  # deep recursion in C
del resource
exec(compile(open("prelude.py").read(), "prelude.py", "exec"))
try:
    exec(compile(open("solution.py").read(), "solution.py", "exec", dont_inherit=True))
except SystemExit:
    pass
