"""Operators whose kernels are written in C: where torch wastes memory traffic or multiplications.

The torch operations are the definition; see `guard` for when the kernels serve."""
