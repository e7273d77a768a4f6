"""Tools, demonstrations and requests of `benchmarks/everyday.py`, and how a call is graded."""
