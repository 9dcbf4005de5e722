"""From a candidate to a result: data, augmentation, training, pruning, quantization, score and artifact."""
