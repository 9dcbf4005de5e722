"""What a command leaves on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

from slimfront.search.status import STATUS


def print_json(value: dict[str, Any]) -> None:
    """One JSON object."""
    STATUS.take_away()
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
