"""What a search may keep low or bound, one cost a file: registered objects (`slimfront.evaluators.scoring.cost`).

The files import torch, and what is made of it, inside of their functions: a cost's name and words are asked for by
commands that measure nothing.
"""
