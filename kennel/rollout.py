"""Rollouts: start one step by step, read the last one, render it for a terminal.

Each step of a start waits until the API confirms the one before; if the start fails,
the stable version goes on answering.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

from export.publication.rollouts import (
    abort_rollout,
    begin_rollout,
    load_canary,
    run_rollout,
)
from export.publication.served import find_rollout
from kennel.client import Client
from kennel.client.errors import ApiError, ApiUnreachableError
from models.errors import ConflictError, KennelError, NotFoundError
from models.rollouts import SEEN_SECONDS, STARTING, Rollout

_POLL_SECONDS: Final = 0.5
_NOTICE_SECONDS: Final = 30.0
"""How long the API may take to see a new rollouts.json; it polls every half second."""

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class StartOptions:
    """The options of a rollout's start.

    Attributes:
        percent: the canary's share of the requests that name no version.
        mirror: percent of the canary's requests that are also sent to the stable one.
        wait_seconds: how long the model server may take to load the canary.
    """

    model: str
    version: int
    percent: float
    mirror: float
    wait_seconds: float


def start_rollout(
    models_dir: Path,
    client: Client,
    start: StartOptions,
    pinned: Callable[[], Collection[int]],
    tell: Callable[[str], None],
) -> Rollout:
    """Start a rollout and return it once it runs; *tell* is called with each step.

    *pinned* is called once the canary is held back: the other versions that stay loaded.
    After an error the stable version answers as before.

    Raises:
        NotFoundError, ConflictError, InvalidRequestError: as `begin_rollout`; or the
            canary cannot be loaded.
        ApiError: the API cannot confirm a step.
    """
    rollout = begin_rollout(models_dir, start.model, start.version, start.mirror)
    try:
        _wait_until_held(client, rollout)
        tell(f"version {rollout.canary} is held back; version {rollout.stable} answers")
        load_canary(models_dir, rollout, pinned())
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
        time.sleep(_POLL_SECONDS)
    # One process of the API has seen the file; after this the others have, too.
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
    reported = ""
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
        if state != reported:
            tell(f"version {rollout.canary} is {state}")
            reported = state
        time.sleep(_POLL_SECONDS)


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


def last_rollout(client: Client, models_dir: Path, name: str) -> dict[str, Any]:
    """The last rollout of the model *name*, as GET /v1/models/NAME/rollout returns it.

    Without an API, rollouts.json answers; the comparison is missing then.

    Raises:
        NotFoundError: the model had no rollout.
        ApiError: the API refused; or it is away, and rollouts.json has no rollout.
        InvalidRequestError: the API is away, and rollouts.json is broken.
    """
    try:
        return client.rollout(name)
    except ApiUnreachableError as error:
        known = find_rollout(models_dir, name)
        if known is None:
            raise
        return {**asdict(known), "comparison": None, "missing": str(error)}
    except ApiError as error:
        if error.code != "rollout_not_found":
            raise
        message = (
            f"the API knows no rollout of {name}: kennel rollout start {name} VERSION "
            "begins one"
        )
        raise NotFoundError(message) from error


def render_rollout(rollout: Mapping[str, Any]) -> str:
    """The answer of GET /v1/models/NAME/rollout as a screen of text."""
    head = (
        f"{rollout['model']}: version {rollout['canary']} beside {rollout['stable']}, "
        f"{rollout['state']}, {rollout['percent']:g} % of requests "
        f"(since {rollout['started']})"
    )
    comparison = rollout.get("comparison")
    if comparison is None:
        return f"{head}\nNo comparison: {rollout.get('missing')}"
    return "\n".join([head, *_table(rollout, comparison), *_sentences(comparison)])


def _table(rollout: Mapping[str, Any], comparison: Mapping[str, Any]) -> Iterator[str]:
    stable, canary = comparison["stable"], comparison["canary"]
    rows = [
        ("", f"stable {rollout['stable']}", f"canary {rollout['canary']}"),
        *(
            (name, f"{stable[name]:,}", f"{canary[name]:,}")
            for name in ("requests", "errors", "images")
        ),
        ("p50", _milliseconds(stable["p50_ms"]), _milliseconds(canary["p50_ms"])),
        ("p99", _milliseconds(stable["p99_ms"]), _milliseconds(canary["p99_ms"])),
        ("scores", _sparks(stable["scores"]), _sparks(canary["scores"])),
        *(
            (label, _share(stable, label), _share(canary, label))
            for label in {**stable["labels"], **canary["labels"]}
        ),
    ]
    width = max(len(name) for name, _, _ in rows)
    for name, one, other in rows:
        yield f"  {name:<{width}}  {one:>20}  {other:>20}"


def _sentences(comparison: Mapping[str, Any]) -> Iterator[str]:
    for what in ("scores", "labels"):
        apart = comparison[what]
        if apart["bits"] is not None:
            yield (
                f"  {what} are {apart['bits']:.4f} bits apart (Jensen-Shannon; by chance "
                f"{apart['by_chance']:.4f})"
            )
    agreement = comparison["agreement"]
    if agreement["images"]:
        yield (
            f"  of {agreement['images']:,} images asked of both, "
            f"{100 * agreement['same_label']:.1f} % got the same label; probabilities "
            f"differ by {agreement['mean_difference']:.4f} on average"
        )
    left_out = agreement["dropped"] + agreement["failed"]
    if left_out:
        yield f"  {left_out:,} images were not compared (busy, large or unanswered)"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"


def _share(side: Mapping[str, Any], label: str) -> str:
    total = sum(side["labels"].values())
    return f"{100 * side['labels'].get(label, 0) / total:.1f} %" if total else "-"


def _sparks(counts: list[int]) -> str:
    tallest = max(counts, default=0)
    if not tallest:
        return "-"
    # Rounded up, so that the smallest count still shows.
    return "".join(_BLOCKS[-(-(len(_BLOCKS) - 1) * each // tallest)] for each in counts)
