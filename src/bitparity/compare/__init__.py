"""Comparison of per-item results from anywhere: runs, logs of other tools, JSONL rows."""
