"""Families of networks, one a file; each is one registered object (`slimfront.spaces.family.Family`).

The files import torch, and what is made of it, inside of their build functions: a family's name and words are asked for
by commands that build nothing.
"""

# First: it looks for the families itself while it is imported, and must find no file that is half imported.
import slimfront.spaces  # noqa: F401
