"""MODELS_DIR/rollouts.json: which version waits, which gets a share of the requests.

The command line writes it, the API reads it. A model server answers requests that name
no version with the newest one it has loaded; while a canary is loaded, the API names
the stable version in their place.
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
LOOK_SECONDS: Final = 0.5
"""The API has a change of the file no later than this."""
SEEN_SECONDS: Final = 1.5
"""A canary is loaded no sooner than this after the file named it, so that no API process
can meet it unprepared."""

CANARY: Final = "canary"
STABLE: Final = "stable"

STARTING: Final = "starting"
RUNNING: Final = "running"
ABORTED: Final = "aborted"
PROMOTED: Final = "promoted"
SUPERSEDED: Final = "superseded"
_LEVELS: Final = 3
"""Of the file: the object, its list, a rollout."""

STATES: Final = (STARTING, RUNNING, ABORTED, PROMOTED, SUPERSEDED)


@dataclass(frozen=True)
class Rollout:
    """How far one version of a model has come.

    Attributes:
        id: names its counts; no two rollouts share one.
        stable: answers requests that name no version.
        canary: answers *percent* of them while the rollout runs.
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
        """It has neither been promoted nor aborted."""
        return self.state in {STARTING, RUNNING}

    @property
    def pins(self) -> bool:
        """Requests that name no version have to name the stable one."""
        return self.is_open or self.state == ABORTED

    @property
    def share(self) -> float:
        """The canary's percent of the requests that name no version."""
        return self.percent if self.state == RUNNING else 0.0

    def holds(self, version: int) -> bool:
        """Whether *version* must not answer a request that names no version."""
        return version == self.canary and self.state != PROMOTED


def read_rollouts(path: Path) -> dict[str, Rollout]:
    """The last rollout of each model; none if there is no file.

    Raises:
        InvalidRequestError: the file cannot be read, or is not such a file.
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
    """The file that says *rollouts*."""
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
    if rollout.state not in STATES or not all(0 <= each <= 100 for each in shares):
        raise ValueError(f"state {rollout.state!r} with shares of {shares} percent")
    return rollout
