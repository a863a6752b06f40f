"""Times of the published models' batches, measured on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kennel.serving_config.budget import BatchTimes
from kennel.serving_config.wishes import Device, powers_of_two
from models.contract import MAX_BATCH_SIZE
from models.errors import InvalidRequestError
from models.wire.config import published_models, published_versions


def measure_models(
    models_dir: Path, device: Device, say: Callable[[str], None]
) -> dict[str, BatchTimes]:
    """Times of the newest version of each model in *models_dir*, by its name.

    Loads them in this process, one after the other; *say* is told which.

    Raises:
        InvalidRequestError: there is none.
        ModelContractError, OSError: one cannot be loaded.
    """
    names = published_models(models_dir)
    if not names:
        raise InvalidRequestError(f"no models in {models_dir}: nothing to measure")
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from models.server.servable import batch_seconds

    sizes = powers_of_two(MAX_BATCH_SIZE if device == "cpu" else 4 * MAX_BATCH_SIZE)
    times = {}
    for name in names:
        version = published_versions(models_dir / name)[0]
        say(f"measuring {name} {version}, batches of 1 to {sizes[-1]} ...")
        seconds = batch_seconds(models_dir / name / str(version), sizes)
        times[name] = BatchTimes(f"{name} {version}", seconds)
    return times
