"""All areas that are looked at, in the order in which trouble spreads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from kennel.doctor.api import check_api
from kennel.doctor.deployment import Deployment, check_settings, read_deployment
from kennel.doctor.finding import FAILED, Finding
from kennel.doctor.folders import check_folders
from kennel.doctor.jobs import check_jobs
from kennel.doctor.machine import check_machine
from kennel.doctor.model_server import check_model_server
from kennel.doctor.published import check_models
from kennel.doctor.secret_files import check_secrets
from kennel.doctor.work_list import check_redis

Check: TypeAlias = Callable[[Deployment], Iterator[Finding]]
Report: TypeAlias = Mapping[str, Sequence[Finding]]
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
    """Look at the deployment that *env* describes, all of it or only *areas*.

    Raises:
        OSError: something changed while it was looked at.
    """
    deployment = read_deployment(env)
    chosen = [area for area in AREAS if not areas or area in areas]
    return {area: list(AREAS[area](deployment)) for area in chosen}


def is_sound(report: Report) -> bool:
    """Whether nothing failed; warnings may be there."""
    return all(each.verdict != FAILED for found in report.values() for each in found)
