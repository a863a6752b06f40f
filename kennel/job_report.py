"""A job and its report for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def what_answers(content: Mapping[str, Any]) -> str:
    """Which model, version and label a job has, and what its CSV says.

    *content* is the job's status or report. An API of an older kennel tells neither
    label nor positive; they are left out.
    """
    parts = [f"{content['model']} version {content['version']}"]
    if content.get("label"):
        parts.append(f"label {content['label']}")
    if content.get("positive"):
        parts.append(f"{content['format']}: probability of {content['positive']}")
    return ", ".join(parts)


def report_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The *report* of GET /v1/jobs/{id}/report as lines for people.

    One of an older kennel lacks what came later; those lines are left out.
    """
    clip = "no clip" if report["clip"] is None else f"clip {report['clip']:g}"
    yield f"{report['job']}: {report['input']} by {what_answers(report)}"
    yield f"  {report['format']}, {clip}, {report['images']} images"
    yield (
        f"  {report['seconds']:g} s, {report['images_per_second']:g} images/s"
        + _queued(report)
    )
    yield from _work(report)
    yield from _predicted(report)
    yield f"  CSV SHA-256 {report['csv_sha256']}"
    yield f"  {report['unreadable']} unreadable, {report['ignored']} files left out"
    for each in report["unreadable_files"]:
        yield f"    {each['file']}: {each['detail']}"


def _queued(report: Mapping[str, Any]) -> str:
    if "queued_seconds" not in report:
        return ""
    return f", after {report['queued_seconds']:g} s in the queue"


def _work(report: Mapping[str, Any]) -> Iterator[str]:
    if "shards" in report:
        shards, attempts = report["shards"], report["attempts"]
        yield (
            f"  {shards['count']} shards in {shards['seconds']:g} s of work, the slowest "
            f"{shards['slowest_seconds']:g} s; {attempts['begun']} attempts, "
            f"{attempts['broken_off']} broke off"
        )


def _predicted(report: Mapping[str, Any]) -> Iterator[str]:
    if "predicted" in report:
        counts = report["predicted"].items()
        yield "  likeliest: " + ", ".join(f"{label} {each}" for label, each in counts)
