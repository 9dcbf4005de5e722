"""How many of this machine's cores are ours."""

from __future__ import annotations


def usable_cores() -> int:
    """Cores that this process may use: those of its affinity, and no more than a container's quota (cgroup 1 and 2).

    Where a quota allows part of a core, that counts as one. `LOKY_MAX_CPU_COUNT` in the environment lowers it further.
    """
    import joblib

    return int(joblib.cpu_count())
