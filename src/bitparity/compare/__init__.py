"""Comparison of per-item results from anywhere: runs, sample logs of lm-eval, JSONL rows."""
