"""Paired statistics: pure functions on arrays of scores in [0, 1]. Fractions throughout; see docs/statistics.md."""
