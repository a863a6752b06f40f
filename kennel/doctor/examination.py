"""The examination: all areas of checks, in the order in which trouble spreads."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import click

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

_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red"}
_INDENT: Final = " " * 12

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
        OSError: a file vanished while it was examined.
    """
    deployment = read_deployment(env)
    chosen = [area for area in AREAS if not areas or area in areas]
    return {area: list(AREAS[area](deployment)) for area in chosen}


def is_sound(report: Report) -> bool:
    """Whether no check failed; there may be warnings."""
    return all(each.verdict != FAILED for found in report.values() for each in found)


def problems_of(report: Report) -> Report:
    """The results that are not ok, by area."""
    left = {
        area: [each for each in findings if each.verdict != "ok"]
        for area, findings in report.items()
    }
    return {area: findings for area, findings in left.items() if findings}


def as_json_text(report: Report, sound: bool) -> str:
    """The *report* as JSON; *sound*: whether no check of the examination failed."""
    found = [
        {"area": area, **dataclasses.asdict(finding)}
        for area, findings in report.items()
        for finding in findings
    ]
    return json.dumps({"status": "ok" if sound else "failed", "findings": found})


def as_text(report: Report) -> str:
    """The *report* as lines for a terminal, then the first failure to fix."""
    lines = []
    for area, findings in report.items():
        lines.append(click.style(area, bold=True))
        lines += [_lines(finding) for finding in findings]
    verdicts = [each.verdict for found in report.values() for each in found]
    counts = ", ".join(f"{verdicts.count(v)} {v}" for v in dict.fromkeys(verdicts))
    return "\n".join([*lines, counts or "no problems", *_first_failure(report)])


def _first_failure(report: Report) -> list[str]:
    return [
        f"begin with {area}, {each.check}: {each.remedy}"
        for area, findings in report.items()
        for each in findings
        if each.verdict == "failed"
    ][:1]


def _lines(finding: CheckResult) -> str:
    verdict = click.style(f"{finding.verdict:<9}", fg=_COLOURS.get(finding.verdict))
    line = f"  {verdict} {finding.check}: {finding.seen}"
    return f"{line}\n{_INDENT}-> {finding.remedy}" if finding.remedy else line
