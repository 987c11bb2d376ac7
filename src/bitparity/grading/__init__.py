"""Grading: verdicts on stored answers, in processes that can be killed."""
