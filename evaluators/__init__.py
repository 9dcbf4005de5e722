"""From a candidate to a result: data, augmentation, training, pruning, quantization, score and artifact."""

if __name__ != "slimfront.evaluators":
    raise ImportError("slimfront's package evaluators is imported as slimfront.evaluators")
