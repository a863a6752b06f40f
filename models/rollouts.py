"""Rollouts in MODELS_DIR/rollouts.json: a model's stable version, its canary, their shares.

The command line writes the file, the API reads it. A model server answers requests without
a version with the newest one it has loaded; while a canary is loaded, the API adds the
stable version to such requests.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from models.errors import InvalidRequestError
from models.files import parse_json

ROLLOUTS_FILE: Final = "rollouts.json"
ROLLOUT_LOOK_SECONDS: Final = 0.5
"""How often the API looks for a change of the file."""

SEEN_SECONDS: Final = 1.5
"""Wait between the file naming a canary and the canary being loaded: by then every API
process has read the file."""

CANARY: Final = "canary"
STABLE: Final = "stable"

STARTING: Final = "starting"
RUNNING: Final = "running"
ABORTED: Final = "aborted"
PROMOTED: Final = "promoted"
SUPERSEDED: Final = "superseded"

ROLLOUT_STATES: Final = (STARTING, RUNNING, ABORTED, PROMOTED, SUPERSEDED)

_LEVELS: Final = 3
"""Nesting of the file: the object, its list, a rollout."""


@dataclass(frozen=True)
class Rollout:
    """The rollout of one version of a model.

    Attributes:
        id: unique; its counts are stored under it.
        stable: the version that answers requests without a version.
        canary: the version that answers *percent* of them while the rollout runs.
        mirror: percent of the canary's requests that the stable version answers too.
        state: starting (being loaded), running, aborted, promoted (the canary answers)
            or superseded (aborted, and by now another version answers).
        started: when it began, ISO 8601.
    """

    model: str
    id: str
    stable: int
    canary: int
    percent: float
    mirror: float
    state: str
    started: str

    @property
    def is_open(self) -> bool:
        """Whether the rollout is neither promoted nor aborted yet."""
        return self.state in {STARTING, RUNNING}

    @property
    def pins(self) -> bool:
        """Whether requests without a version must be sent to the stable one."""
        return self.is_open or self.state == ABORTED

    @property
    def share(self) -> float:
        """The canary's percent of the requests without a version."""
        return self.percent if self.state == RUNNING else 0.0

    def holds(self, version: int) -> bool:
        """Whether *version* must not answer requests without a version."""
        return version == self.canary and self.state != PROMOTED


def read_rollouts(path: Path) -> dict[str, Rollout]:
    """The last rollout of each model; empty if there is no file.

    Raises:
        InvalidRequestError: the file cannot be read, or is no list of rollouts.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path} cannot be read: {error}") from error
    try:
        entries = [_read(each) for each in parse_json(text, _LEVELS)["rollouts"]]
    except (ValueError, KeyError, TypeError) as error:
        message = (
            f"{path} is not a list of rollouts ({error}): restore it, or remove it to "
            "end them all"
        )
        raise InvalidRequestError(message) from error
    return {each.model: each for each in entries}


def render_rollouts(rollouts: Iterable[Rollout]) -> str:
    """The file's text for *rollouts*."""
    entries = [asdict(each) for each in sorted(rollouts, key=lambda each: each.model)]
    return json.dumps({"rollouts": entries}, indent=2) + "\n"


def _read(entry: dict[str, Any]) -> Rollout:
    rollout = Rollout(
        model=str(entry["model"]),
        id=str(entry["id"]),
        stable=int(entry["stable"]),
        canary=int(entry["canary"]),
        percent=float(entry["percent"]),
        mirror=float(entry["mirror"]),
        state=str(entry["state"]),
        started=str(entry["started"]),
    )
    shares = (rollout.percent, rollout.mirror)
    if rollout.state not in ROLLOUT_STATES or not all(
        0 <= each <= 100 for each in shares
    ):
        raise ValueError(f"state {rollout.state!r} with shares of {shares} percent")
    return rollout
