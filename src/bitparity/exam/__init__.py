"""Exams: the frozen items of a benchmark with their final prompts, and the requests made from them."""
