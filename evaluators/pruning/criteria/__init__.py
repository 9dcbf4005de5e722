"""Pruning criteria, a file each: `slimfront.spaces.criteria.Criterion` says what one is.

criterion    of a weight w      of a filter
l1           |w|                sum of |w|
l2           w^2                root of the sum of w^2
batch_norm                      |scale| of the batch norm behind it
feature_map                     error of the next layer's sums without it (ThiNet)
taylor       (w g)^2            |scale g + shift g| of the batch norm behind it
random       uniform            uniform

g is the gradient of the loss on a few training images.
"""
