"""The training loop and what it is made of: augmentation, optimizers, averaging, teachers, checkpoints."""
