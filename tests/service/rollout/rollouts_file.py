"""rollouts.json as the commands write it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from models.files import write_atomically
from models.rollouts import ROLLOUTS_FILE, RUNNING, Rollout, render_rollouts

ROLLOUT: Final = Rollout(
    model="pets",
    id="9f3c01ab",
    stable=1,
    canary=2,
    percent=50,
    mirror=0,
    state=RUNNING,
    started="2026-11-21T09:30:00+00:00",
)


def write_rollout(models_dir: Path, **changes: Any) -> Rollout:
    """`ROLLOUT` with these *changes*, written."""
    rollout = replace(ROLLOUT, **changes)
    models_dir.mkdir(exist_ok=True)
    write_atomically(models_dir / ROLLOUTS_FILE, render_rollouts([rollout]))
    return rollout
