"""Results: scores, comparisons, guards and verdicts computed from the stored grades."""
