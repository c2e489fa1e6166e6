"""Benchmarks: each module pits the tool against a named peer on the same input, in turns, in one process tree."""
