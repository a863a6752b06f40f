"""Whether a rollout is where a command needs it; each refusal names the way on."""

from __future__ import annotations

from models.errors import ConflictError, NotFoundError
from models.rollouts import STARTING, Rollout


def opened(name: str, rollout: Rollout | None) -> Rollout:
    """*rollout* of the model *name*, if it goes on.

    Raises:
        NotFoundError: it does not, or there is none.
    """
    if rollout is None or not rollout.is_open:
        message = (
            f"no rollout of {name} goes on: kennel rollout start {name} VERSION "
            "begins one"
        )
        raise NotFoundError(message)
    return rollout


def check_closed(rollout: Rollout | None) -> None:
    """See that no rollout goes on.

    Raises:
        ConflictError: *rollout* does.
    """
    if rollout is not None and rollout.is_open:
        message = (
            f"a rollout of {rollout.model} version {rollout.canary} goes on: kennel "
            f"rollout promote {rollout.model}, or kennel rollout abort {rollout.model}"
        )
        raise ConflictError(message)


def still_starting(rollout: Rollout, found: Rollout | None) -> Rollout:
    """*found*, if it is *rollout* and its canary may be loaded.

    Raises:
        ConflictError: another command ended it.
    """
    if found is None or (found.id, found.state) != (rollout.id, STARTING):
        message = f"another command ended this rollout of {rollout.model}"
        raise ConflictError(message)
    return found


def running(name: str, found: Rollout | None) -> Rollout:
    """*found*, the rollout of the model *name*, if its canary is loaded.

    Raises:
        NotFoundError: there is none, or it is over.
        ConflictError: its canary is still being loaded.
    """
    rollout = opened(name, found)
    if rollout.state == STARTING:
        message = (
            f"{name} version {rollout.canary} is still being loaded: wait for kennel "
            f"rollout start, or repeat it; kennel rollout abort {name} gives up"
        )
        raise ConflictError(message)
    return rollout
