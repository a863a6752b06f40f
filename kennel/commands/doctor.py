"""`kennel doctor`: what is wrong here, and the remedy."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Final

import click

from kennel.commands.api_options import JSON_OPTION

if TYPE_CHECKING:
    from kennel.doctor.examination import Report
    from kennel.doctor.finding import Finding

_COLOURS: Final = {"ok": "green", "warning": "yellow", "failed": "red"}
_INDENT: Final = " " * 12


@click.command(
    epilog="Examples: kennel doctor; kennel doctor --problems; "
    "kennel doctor redis jobs --json"
)
@click.argument("areas", nargs=-1)
@click.option("--problems", is_flag=True, help="Show only what is not ok.")
@JSON_OPTION
@click.pass_context
def doctor(
    ctx: click.Context, areas: tuple[str, ...], problems: bool, as_json: bool
) -> None:
    """Say what is wrong with this machine or deployment, and the remedy.

    AREAS: settings, machine, secrets, folders, redis, jobs, models, model-server, api;
    default: all, in the order in which trouble spreads: begin with the first that
    failed. It reads the variables that the services read, changes nothing, and exits
    with 1 if a check failed.
    """
    from kennel.doctor.examination import AREAS, examine, is_sound

    for area in areas:
        if area not in AREAS:
            raise click.BadParameter(f"{area!r} is none of {', '.join(AREAS)}")
    report = examine(os.environ, areas)
    sound = is_sound(report)
    if problems:
        report = _problems(report)
    click.echo(_as_json(report, sound) if as_json else _as_text(report))
    ctx.exit(0 if sound else 1)


def _problems(report: Report) -> Report:
    left = {
        area: [each for each in findings if each.verdict != "ok"]
        for area, findings in report.items()
    }
    return {area: findings for area, findings in left.items() if findings}


def _as_json(report: Report, sound: bool) -> str:
    found = [
        {"area": area, **dataclasses.asdict(finding)}
        for area, findings in report.items()
        for finding in findings
    ]
    return json.dumps({"status": "ok" if sound else "failed", "findings": found})


def _as_text(report: Report) -> str:
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


def _lines(finding: Finding) -> str:
    verdict = click.style(f"{finding.verdict:<9}", fg=_COLOURS.get(finding.verdict))
    line = f"  {verdict} {finding.check}: {finding.seen}"
    return f"{line}\n{_INDENT}-> {finding.remedy}" if finding.remedy else line
