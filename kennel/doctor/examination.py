"""The examination: all areas of checks, in the order in which trouble spreads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from kennel.doctor.deployment import (
    FAILED,
    CheckResult,
    Deployment,
    check_settings,
    read_deployment,
)
from kennel.doctor.jobs import check_jobs
from kennel.doctor.machine import check_folders, check_machine, check_secrets
from kennel.doctor.models import check_api, check_model_server, check_models
from kennel.doctor.redis import check_redis

Check: TypeAlias = Callable[[Deployment], Iterator[CheckResult]]
Report: TypeAlias = Mapping[str, Sequence[CheckResult]]
"""The findings of each area."""

AREAS: Final[Mapping[str, Check]] = {
    "settings": check_settings,
    "machine": check_machine,
    "secrets": check_secrets,
    "folders": check_folders,
    "redis": check_redis,
    "jobs": check_jobs,
    "models": check_models,
    "model-server": check_model_server,
    "api": check_api,
}


def examine(env: Mapping[str, str], areas: Sequence[str] = ()) -> Report:
    """Examine the deployment that *env* describes: all areas, or only *areas*.

    Raises:
        OSError: something changed while it was looked at.
    """
    deployment = read_deployment(env)
    chosen = [area for area in AREAS if not areas or area in areas]
    return {area: list(AREAS[area](deployment)) for area in chosen}


def is_sound(report: Report) -> bool:
    """Whether nothing failed; warnings may be there."""
    return all(each.verdict != FAILED for found in report.values() for each in found)
