"""The names that LiveCodeBench gives every program (its `import_string`, lcb_runner/evaluation/testing_util.py at
commit 8610ffb2e044c8f8e83eb55b2df42f9b87432d10). `builtins` comes late, so that `pow`, `open` and the like are
Python's own again after `from math import *` and others.
"""

from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import string, re, datetime, collections, heapq, bisect, copy, math, random
import statistics, itertools, functools, operator, io, sys, json

sys.setrecursionlimit(50000)
