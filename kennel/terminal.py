"""Terminal output: progress bars, tables, jobs and their reports.

Progress goes to stderr. Fields that an older API does not send are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from models.errors import quoted

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from export.progress import Progress as Report
    from kennel.client.answers import Job

_UNKNOWN: Final = "-"
_MOST_NUMBERS: Final = 10
_HEADINGS: Final = (
    *("job", "submitted", "state", "images", "images/s", "left"),
    *("model", "CSV", "input", "remarks"),
)


@contextmanager
def progress_bars(waiting_for: str = "", *, lines: bool = True) -> Iterator[Report]:
    """A function (stage, done, total) that draws a bar for each stage on stderr.

    *waiting_for* adds a bar of that name without an end, which moves as long as the
    block lasts. Without a terminal each completed stage prints one line, or none if
    *lines* is false. The block may print meanwhile.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(console) if lines else lambda *_: None
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # Results that are redirected to a file must not be drawn above the bars.
    redirects = sys.stdout.isatty()
    with Progress(*columns, console=console, redirect_stdout=redirects) as bars:
        waiting = bars.add_task(waiting_for, total=None) if waiting_for else None
        yield _bars(bars)
        if waiting is not None:
            bars.update(waiting, total=1, completed=1)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """A table: a line for each of *rows*, columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def jobs_table(jobs: Iterable[Job]) -> str:
    """A line for each of *jobs* under a line of headings, columns aligned."""
    return aligned([_HEADINGS, *map(_row, jobs)])


def job_line(job: Job) -> str:
    """One line about a *job*: id, state, counts, model, input, remarks."""
    remarks = "".join(f"  {each}" for each in _remarks(job))
    counts, model = _counts(job), _model(job.content)
    return f"{job.id}  {job.state}  {counts}  {model}  {_plain(job.input)}{remarks}"


def submitted_line(job: Job) -> str:
    """One line about a new *job*: its images, its model, the format of its CSV."""
    return f"Job {job.id}: {job.total} images by {what_answers(job.content)}"


def job_page(job: Job) -> str:
    """A page about one *job*: a line for each fact, then its unreadable files."""
    content = job.content
    facts = {
        "job": job.id,
        "state": job.state,
        "submitted": _moment(content.get("created")),
        "ended": _moment(content.get("finished")),
        "input": _plain(job.input),
        "images": f"{_counts(job)} done, {job.unreadable} unreadable",
        "left out": content.get("ignored") or None,
        "images/s": _speed(content),
        "time left": _time_left(content),
        "model": _version(content),
        "CSV": _csv_in_full(content),
        "clip": "off" if content.get("clip", "") is None else content.get("clip"),
        "priority": content.get("priority"),
        "owner": content.get("owner"),
        "error": job.error,
        "waits": content.get("waiting"),
    }
    known = [(k, str(v)) for k, v in facts.items() if v not in {None, _UNKNOWN}]
    files = (f"  {_plain(f['file'])}: {f['detail']}" for f in job.unreadable_files)
    return "\n".join([aligned(known), *files])


def what_answers(content: Mapping[str, Any]) -> str:
    """The model, version and label of a job, and the format of its CSV.

    *content* is the job's status or report.
    """
    return ", ".join(filter(None, [_version(content), _csv_in_full(content)]))


def report_lines(report: Mapping[str, Any]) -> Iterator[str]:
    """The *report* of GET /v1/jobs/{id}/report as lines for people."""
    clip = "no clip" if report["clip"] is None else f"clip {report['clip']:g}"
    yield f"{report['job']}: {report['input']} by {what_answers(report)}"
    yield f"  {clip}, {report['images']} images"
    yield (
        f"  {report['seconds']:g} s, {report['images_per_second']:g} images/s"
        + _queued(report)
    )
    yield from _work(report)
    yield from _predicted(report)
    yield f"  CSV SHA-256 {report['csv_sha256']}"
    yield f"  {report['unreadable']} unreadable"
    for each in report["unreadable_files"]:
        yield f"    {_plain(each['file'])}: {each['detail']}"
    yield f"  {report['ignored']} files and folders left out"
    for name in report.get("ignored_files", []):
        yield f"    {_plain(name)}"


def _bars(bars: Progress) -> Report:
    tasks: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int) -> None:
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total)
        bars.update(tasks[stage], completed=done, total=total)

    return report


def _lines(console: Console) -> Report:
    finished: set[str] = set()

    def report(stage: str, done: int, total: int) -> None:
        if done >= total and stage not in finished:
            finished.add(stage)
            console.print(f"{stage}: {done} of {total}", highlight=False)

    return report


def _version(content: Mapping[str, Any]) -> str:
    label = f", label {content['label']}" if content.get("label") else ""
    return f"{content['model']} version {content['version']}{label}"


def _csv(content: Mapping[str, Any]) -> str | None:
    if not content.get("format"):
        return None
    positive, column = content.get("positive"), ""
    if positive:
        column = f": probability of {positive}"
    elif content["format"] == "label":
        column = ": numbers" if content.get("label_numbers") else ": names"
    return f"{content['format']}{column}"


def _csv_in_full(content: Mapping[str, Any]) -> str | None:
    numbers = [
        f"{n} {name}" for n, name in enumerate(content.get("label_numbers") or ())
    ]
    shown = ", ".join(numbers[:_MOST_NUMBERS])
    more = ", ..." if len(numbers) > _MOST_NUMBERS else ""
    return f"{_csv(content)} ({shown}{more})" if numbers else _csv(content)


def _row(job: Job) -> tuple[str, ...]:
    content = job.content
    return (
        job.id,
        _moment(content.get("created")),
        job.state,
        _counts(job),
        _speed(content),
        _time_left(content),
        _model(content),
        _plain(_csv(content) or _UNKNOWN),
        _plain(job.input),
        "; ".join(_remarks(job)),
    )


def _counts(job: Job) -> str:
    return f"{job.done}/{job.total}"


def _model(content: Mapping[str, Any]) -> str:
    label = f" ({content['label']})" if content.get("label") else ""
    return f"{content['model']} {content['version']}{label}"


def _remarks(job: Job) -> Iterator[str]:
    if job.unreadable:
        yield f"{job.unreadable} unreadable"
    if job.error:
        yield _plain(job.error)
    if job.content.get("waiting"):
        yield f"waits: {_plain(job.content['waiting'])}"


def _moment(iso: str | None) -> str:
    if iso is None:
        return _UNKNOWN
    try:
        return f"{datetime.fromisoformat(iso).astimezone():%Y-%m-%d %H:%M:%S}"
    except ValueError:
        return _plain(iso)


def _speed(content: Mapping[str, Any]) -> str:
    speed = content.get("images_per_second")
    if speed is None:
        return _UNKNOWN
    return f"{speed:.{1 if speed < 100 else 0}f}"


def _time_left(content: Mapping[str, Any]) -> str:
    seconds = content.get("eta_seconds")
    if seconds is None:
        return _UNKNOWN
    if seconds < 60:
        return f"{max(round(seconds), 1)} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _plain(text: str) -> str:
    # A name may hold line breaks or a terminal's control characters.
    return text if text.isprintable() else quoted(text)


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
