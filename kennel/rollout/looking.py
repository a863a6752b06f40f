"""What is known of a rollout: from the API, or without it from the file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.publication.served import find_rollout
from kennel.api.errors import ApiError, ApiUnreachableError
from kennel.client import Client
from models.errors import NotFoundError


def look(client: Client, models_dir: Path, name: str) -> dict[str, Any]:
    """The last rollout of the model *name*, as GET /v1/models/NAME/rollout tells it.

    Raises:
        NotFoundError: it had none.
        ApiError: the API refused; or it is away, and no file says more.
        InvalidRequestError: the API is away, and rollouts.json is broken.
    """
    try:
        return client.rollout(name)
    except ApiUnreachableError as error:
        # The file says what was decided; only the API knows how it goes.
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
