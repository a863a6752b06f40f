"""A worker on a machine with a wrong clock.

python -m tests.faults.skewed_worker SECONDS_AHEAD
"""

from __future__ import annotations

import sys
from datetime import datetime, timedelta

import rq.utils

from worker.main import main


def skew(seconds: float) -> None:
    """Let RQ see another time, in every module that asks for it."""
    now, timestamp = rq.utils.now, rq.utils.current_timestamp

    def wrong_now() -> datetime:
        return now() + timedelta(seconds=seconds)

    def wrong_timestamp() -> int:
        return int(timestamp() + seconds)

    for name, module in list(sys.modules.items()):
        if name.startswith("rq."):
            for attribute, wrong in (
                ("now", wrong_now),
                ("current_timestamp", wrong_timestamp),
            ):
                if hasattr(module, attribute):
                    setattr(module, attribute, wrong)


if __name__ == "__main__":
    skew(float(sys.argv[1]))
    sys.exit(main())
