"""Benchmarks: questions, prompts and answer rules, one file each, behind one contract."""
