"""A trial from sampling to record: the engine and its clients, workers, early stopping, what people see meanwhile."""

if __name__ != "slimfront.search":
    raise ImportError("slimfront's package search is imported as slimfront.search")
