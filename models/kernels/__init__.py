"""Operators whose kernels are written in C: where torch wastes memory traffic or multiplications.

The torch operations are the definition; see `library` for when the kernels serve."""
