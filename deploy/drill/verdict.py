"""What must hold, whatever is done to a container."""

from __future__ import annotations

from typing import Final

from deploy.drill.load import Request
from deploy.drill.observation import Observation

WITHOUT_THEM_NOTHING_ANSWERS: Final = frozenset({"proxy killed", "model-server killed"})
"""Predictions may fail while these are away, and until all is ready again."""


def complaints(seen: Observation) -> list[str]:
    """The promises that were not kept, a sentence each."""
    broken = []
    if not seen.job_equal:
        broken.append(f"{seen.event}: the job did not end with the reference's bytes")
    unexcused = [request for request in seen.failures if not _excused(seen, request)]
    if unexcused:
        broken.append(f"{seen.event}: {len(unexcused)} predictions failed")
    return broken


def _excused(seen: Observation, request: Request) -> bool:
    began = seen.happened.began
    away = max(seen.happened.seconds, seen.ready_seconds)
    was_away = request.ended >= began and request.asked <= began + away
    return seen.event in WITHOUT_THEM_NOTHING_ANSWERS and was_away
