"""Optimizers, a file each: `slimfront.spaces.optimizers.Optimizer` says what one is.

Weight decay falls on weights of two and more dimensions only: batch-norm parameters, biases and quantizer steps are
left alone, as is usual (`slimfront.evaluators.training.parameters`).
"""
