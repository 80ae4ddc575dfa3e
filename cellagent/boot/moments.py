"""When this instance's user-data began to run, as the script that started us says."""

from __future__ import annotations

import os

VARIABLE = "CHINAMPA_USER_DATA_AT"


def started_at() -> float:
    """Unix seconds; 0 where nobody said."""
    try:
        return float(os.environ.get(VARIABLE, "0"))
    except ValueError:
        return 0.0
