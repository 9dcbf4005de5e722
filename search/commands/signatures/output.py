"""What a command leaves on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any


def print_json(value: dict[str, Any]) -> None:
    """One JSON object."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")
