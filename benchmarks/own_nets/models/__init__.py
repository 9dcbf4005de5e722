"""As in the repositories that train CIFAR-10: every network of the package by its name."""

from .narrow_resnet import *  # noqa: F403
