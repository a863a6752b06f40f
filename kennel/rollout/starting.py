"""From a published version to one that gets its share of the requests.

Each step waits for the one before it, as the API sees it: what is not confirmed is not
built upon, and a start that fails leaves the stable version alone as it was.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NoReturn

from export.publication.rollouts import (
    abort_rollout,
    begin_rollout,
    load_canary,
    run_rollout,
)
from kennel.api.errors import ApiError
from kennel.client import Client
from kennel.pinned_jobs import unfinished_jobs
from kennel.settings import KennelSettings
from models.errors import ConflictError, KennelError
from models.rollouts import SEEN_SECONDS, STARTING, Rollout

POLL_SECONDS: Final = 0.5
_NOTICE_SECONDS: Final = 30.0
"""Within this the API must have seen a new file; its own look takes half a second."""


@dataclass(frozen=True)
class Start:
    """A rollout as it is to begin.

    Attributes:
        percent: of the requests that name no version, for the canary.
        mirror: percent of those that the stable version is to answer as well.
        wait_seconds: how long the model server may take to load the canary.
    """

    model: str
    version: int
    percent: float
    mirror: float
    wait_seconds: float


def start_rollout(
    settings: KennelSettings, client: Client, start: Start, tell: Callable[[str], None]
) -> Rollout:
    """The rollout of *start*, running; *tell* hears of each step.

    Raises:
        NotFoundError, ConflictError, InvalidRequestError: as `begin_rollout`; or the
            canary cannot be loaded. The stable version answers as before.
        ApiError: the API cannot confirm a step; the stable version answers as before.
    """
    models_dir = settings.models_dir
    rollout = begin_rollout(models_dir, start.model, start.version, start.mirror)
    try:
        _wait_until_held(client, rollout)
        tell(f"version {rollout.canary} is held back; version {rollout.stable} answers")
        needed = {job.version for job in unfinished_jobs(settings, start.model)}
        load_canary(models_dir, rollout, needed)
        _wait_until_available(client, rollout, start.wait_seconds, tell)
        return run_rollout(models_dir, rollout, start.percent)
    except (KennelError, OSError, KeyboardInterrupt):
        abort_rollout(models_dir, start.model)
        raise


def _wait_until_held(client: Client, rollout: Rollout) -> None:
    deadline = time.monotonic() + _NOTICE_SECONDS
    while not _is_known(client, rollout):
        if time.monotonic() > deadline:
            message = (
                f"the API does not see rollouts.json after {_NOTICE_SECONDS:g} s: has "
                "it the same MODELS_DIR? Nothing was loaded"
            )
            raise ConflictError(message)
        time.sleep(POLL_SECONDS)
    # One process has answered; the others have looked as well after this.
    time.sleep(SEEN_SECONDS)


def _is_known(client: Client, rollout: Rollout) -> bool:
    try:
        known = client.rollout(rollout.model)
    except ApiError as error:
        if error.status == 404:
            return False
        _refuse(rollout, error)
    return (known["id"], known["state"]) == (rollout.id, STARTING)


def _wait_until_available(
    client: Client, rollout: Rollout, seconds: float, tell: Callable[[str], None]
) -> None:
    deadline = time.monotonic() + seconds
    told = ""
    while True:
        state, error = _state(client, rollout)
        if state == "AVAILABLE":
            return
        if error:
            message = (
                f"{rollout.model} version {rollout.canary} was not loaded: {error}"
            )
            raise ConflictError(message)
        if time.monotonic() > deadline:
            message = (
                f"{rollout.model} version {rollout.canary} is {state} after "
                f"{seconds:g} s: look at the model server's log, or allow --wait more"
            )
            raise ConflictError(message)
        if state != told:
            tell(f"version {rollout.canary} is {state}")
            told = state
        time.sleep(POLL_SECONDS)


def _state(client: Client, rollout: Rollout) -> tuple[str, str]:
    try:
        versions = client.model(rollout.model)["versions"]
    except ApiError as error:
        _refuse(rollout, error)
    for each in versions:
        if each["version"] == rollout.canary:
            return each["state"], each.get("error", "")
    return "not loaded yet", ""


def _refuse(rollout: Rollout, error: ApiError) -> NoReturn:
    message = (
        f"{error}. So it was not checked that the API holds version {rollout.canary} "
        "back, nor that the model server has it loaded and warm: the rollout was ended, "
        f"and version {rollout.stable} answers as before"
    )
    raise ApiError(message, error.status, error.code) from error
