"""A trial from sampling to record: the coordinator, its workers, early stopping, what people see meanwhile."""
