"""Folder jobs: `kennel submit` and `kennel jobs`.

A job does not need the command that follows it: a command that ends before its job does
prints how to come back to it. Every JOB is an id, or the beginning of one that no other
job's id has.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import click
from click.core import ParameterSource

from kennel.commands.options import (
    CLIP_OPTION,
    JSON_OPTION,
    KEY_OPTION,
    LABEL_OPTION,
    MODEL_OPTION,
    URL_OPTION,
    VERSION_OPTION,
    note,
    open_client,
)
from kennel.terminal import (
    job_line,
    job_page,
    jobs_table,
    progress_bars,
    report_lines,
    submitted_line,
)
from models.errors import ConflictError, KennelError, quoted_names

if TYPE_CHECKING:
    from kennel.client import Client
    from kennel.client.answers import Job


STDOUT: Final = Path("-")
ONLY_PHOTOS: Final = "(a job takes the photos right in its folder)"

_Command = TypeVar("_Command", bound=Callable[..., Any])

_MEBIBYTE: Final = 1024**2
_BY_DEFAULT: Final = " (the default model: --model names another)"
_SHEET: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_NOTHING_YET: Final = "The upload did not end: no job was started."
_PERHAPS: Final = "Perhaps the job was started all the same: kennel jobs list shows it."
_Done = TypeVar("_Done")


def _check_output(_: click.Context, __: click.Parameter, value: Path | None) -> Any:
    # Checked before the job starts, whose CSV would have nowhere to go hours later.
    if value is None or value == STDOUT:
        return value
    if not value.parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.parent}: make it first")
    if not os.access(value.parent, os.W_OK):
        raise click.BadParameter(f"the folder {value.parent} may not be written")
    return value


def _output_option(default: str | None, text: str) -> Callable[[_Command], _Command]:
    """The option -o of a command that writes a CSV; *text* is its help."""
    return click.option(
        "-o",
        "--output",
        default=default,
        show_default=default is not None,
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_check_output,
        help=text,
    )


@click.command(
    epilog="Examples: kennel submit test -o submission.csv; "
    "kennel submit --upload photos.zip; "
    "kennel submit test --sample sample_submission.csv --clip 0.95"
)
@click.argument("folder")
@click.option(
    "--upload",
    is_flag=True,
    help="Upload FOLDER, a folder, zip, tar or tar.gz on this machine.",
)
@_output_option("submission.csv", "Where the CSV goes; - is stdout.")
@MODEL_OPTION
@VERSION_OPTION
@LABEL_OPTION
@click.option(
    "--format",
    type=click.Choice(["kaggle-binary", "kaggle-multiclass", "label", "full"]),
    help="Format of the CSV; default: as the sample, or kaggle-binary. label: the most "
    "probable label of each image.",
)
@click.option(
    "--sample",
    "sample_submission",
    type=_SHEET,
    help="Kaggle's sample_submission.csv: the CSV gets its header, ids and order.",
)
@click.option(
    "--manifest",
    type=_SHEET,
    help="A CSV that lists the images in a column file; a column id is optional.",
)
@click.option(
    "--positive",
    help="kaggle-binary: the label whose probability the CSV has; default: the last.",
)
@CLIP_OPTION
@click.option(
    "--on-unreadable",
    type=click.Choice(["prior", "fail"]),
    default="prior",
    show_default=True,
    help="What an unreadable image gets: the uniform prior (with --format label the "
    "first label); or fail the job.",
)
@click.option(
    "--max-unreadable",
    metavar="SHARE|COUNT",
    help="Fail the job beyond so many unreadable images, as 5% or 20; default: 5%, and "
    "at least 3.",
)
@click.option(
    "--priority",
    type=click.Choice(["high", "normal", "low"]),
    default="normal",
    show_default=True,
    help="Which job gets workers first; jobs of one priority share them.",
)
@URL_OPTION
@KEY_OPTION
def submit(
    folder: str,
    upload: bool,
    output: Path,
    url: str,
    key: str | None,
    **options: Any,
) -> None:
    """Turn FOLDER, a name below the service's INPUT_ROOT, into a CSV.

    The model, its version and the meaning of the CSV's column are printed to stderr.
    The job goes on without this command: after Ctrl-C it says how to come back to the
    job.
    """
    source = Path(folder) if upload else folder
    words = _NOTHING_YET if upload else _PERHAPS
    with open_client(url, key) as client, _ResumeHint(words) as hint:
        job = _submit(client, source, options, hint)
        _fetch_csv(client, _follow(client, job, output, hint), output)


def _submit(
    client: Client, source: str | Path, options: dict[str, Any], hint: _ResumeHint
) -> Job:
    def sent(count: int, size: int) -> None:
        progress("upload (MiB)", -(-count // _MEBIBYTE), -(-size // _MEBIBYTE))
        if count == size:
            hint.text = _PERHAPS

    def left_out(names: Sequence[str]) -> None:
        note(f"not sent: {quoted_names(names)} {ONLY_PHOTOS}")

    with progress_bars() as progress:
        job = client.submit(source, on_sent=sent, on_left_out=left_out, **options)
    by_default = "" if options["model"] else _BY_DEFAULT
    click.echo(f"{submitted_line(job)}{by_default}", err=True)
    return job


@click.group(
    epilog="Examples: kennel jobs list; kennel jobs show 3f9c; "
    "kennel jobs wait 3f9c -o submission.csv"
)
def jobs() -> None:
    """List, show, wait for, fetch, report, cancel, retry or delete folder jobs.

    A JOB is an id of kennel jobs list, or the beginning of one.
    """


@jobs.command(
    "list", epilog="Examples: kennel jobs list; kennel jobs list --state failed"
)
@click.option(
    "--state",
    type=click.Choice(["queued", "running", "succeeded", "failed", "cancelled"]),
    help="Only jobs in this state; default: all.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Only the newest so many; default: all."
)
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def list_jobs(
    state: str | None, limit: int | None, url: str, key: str | None, as_json: bool
) -> None:
    """List the jobs, newest first; times are local."""
    with open_client(url, key) as client:
        found = client.jobs(state=state, limit=limit)
    if as_json:
        click.echo(json.dumps([job.content for job in found]))
    elif found:
        click.echo(jobs_table(found))
    else:
        which = f"no {state} jobs" if state else "no jobs yet: kennel submit FOLDER"
        note(which)


@jobs.command(
    "show", epilog="Examples: kennel jobs show JOB; kennel jobs show JOB --json"
)
@click.argument("job")
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def show_job(job: str, url: str, key: str | None, as_json: bool) -> None:
    """Show one JOB: progress, model, CSV, unreadable images."""
    with open_client(url, key) as client:
        found = _with_id(client, job, client.job)
    click.echo(json.dumps(found.content) if as_json else job_page(found))


@jobs.command(
    "wait",
    epilog="Examples: kennel jobs wait JOB; kennel jobs wait JOB -o submission.csv",
)
@click.argument("job")
@_output_option(None, "Where the CSV goes; - is stdout. Default: only wait.")
@URL_OPTION
@KEY_OPTION
def wait_for_job(job: str, output: Path | None, url: str, key: str | None) -> None:
    """Wait until a JOB has succeeded; exits with 1 if it fails or is cancelled.

    The job goes on without this command, which can be repeated at any time.
    """
    with open_client(url, key) as client:
        found = _with_id(client, job, client.job)
        click.echo(submitted_line(found), err=True)
        with _ResumeHint("") as hint:
            found = _follow(client, found, output, hint)
            if output is not None:
                _fetch_csv(client, found, output)
        if output is None:
            click.echo(job_line(found))


@jobs.command(
    "csv", epilog="Examples: kennel jobs csv JOB -o submission.csv; kennel jobs csv JOB"
)
@click.argument("job")
@_output_option("-", "Where the CSV goes; - is stdout.")
@URL_OPTION
@KEY_OPTION
def fetch_job(job: str, output: Path, url: str, key: str | None) -> None:
    """Fetch the CSV of a JOB that has succeeded."""
    with open_client(url, key) as client:
        found = _with_id(client, job, client.job)
        if found.state != "succeeded":
            raise ConflictError(_no_csv(found), code="job_not_finished")
        click.echo(submitted_line(found), err=True)
        _fetch_csv(client, found, output)


@jobs.command(
    "report", epilog="Examples: kennel jobs report JOB; kennel jobs report JOB --json"
)
@click.argument("job")
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def report_job(job: str, url: str, key: str | None, as_json: bool) -> None:
    """Show the report of a succeeded JOB: times, labels, unreadable images."""
    with open_client(url, key) as client:
        report = _with_id(client, job, client.report)
    if as_json:
        click.echo(json.dumps(report))
        return
    for line in report_lines(report):
        click.echo(line)


@jobs.command("cancel", epilog="Examples: kennel jobs cancel JOB")
@click.argument("job")
@URL_OPTION
@KEY_OPTION
def cancel_job(job: str, url: str, key: str | None) -> None:
    """Cancel a JOB; what it has computed stays for a retry."""
    with open_client(url, key) as client:
        click.echo(job_line(_with_id(client, job, client.cancel)))


@jobs.command("retry", epilog="Examples: kennel jobs retry JOB")
@click.argument("job")
@URL_OPTION
@KEY_OPTION
def retry_job(job: str, url: str, key: str | None) -> None:
    """Retry a failed or cancelled JOB, keeping what is finished."""
    with open_client(url, key) as client:
        click.echo(job_line(_with_id(client, job, client.retry)))


@jobs.command(
    "delete", epilog="Examples: kennel jobs delete JOB; kennel jobs delete JOB JOB"
)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@URL_OPTION
@KEY_OPTION
def delete_jobs(jobs: tuple[str, ...], url: str, key: str | None) -> None:
    """Delete each JOB that is over, with its CSV and the photos uploaded for it.

    Exits with 1 if one of them cannot be deleted; the others are deleted all the same.
    """
    from kennel.client.errors import ApiError

    is_done = True
    with open_client(url, key) as client:

        def delete(job: str) -> str:
            client.delete(job)
            return job

        for job in jobs:
            try:
                click.echo(f"{_with_id(client, job, delete)}  deleted")
            except KennelError as error:
                if isinstance(error, ApiError) and error.status not in {404, 409}:
                    raise
                note(str(error))
                is_done = False
    click.get_current_context().exit(0 if is_done else 1)


def _with_id(client: Client, job: str, act: Callable[[str], _Done]) -> _Done:
    from kennel.client.errors import ApiError

    try:
        return act(job)
    except ApiError as error:
        if error.status != 404:
            raise
    return act(client.full_id(job))


def _no_csv(job: Job) -> str:
    if not job.is_over:
        return (
            f"job {job.id} is {job.state}, {job.done} of {job.total} images are done: "
            f"kennel jobs wait {job.id} -o submission.csv"
        )
    reason = f" ({job.error})" if job.error else ""
    return (
        f"job {job.id} ended as {job.state}{reason}, without a CSV: continue it with "
        f"kennel jobs retry {job.id}"
    )


class _ResumeHint:
    """Prints how to come back to a job when its command ends early.

    The command exits with 130 after Ctrl-C, 143 after SIGTERM, and 1 if the API is lost
    or the CSV cannot be written. Other errors are raised: the API refused, the job
    failed, or certainly no job was started.
    """

    def __init__(self, text: str) -> None:
        """Print *text*; the block may change it."""
        self.text = text
        self.has_job = False
        self._before: Any = signal.SIG_DFL

    def __enter__(self) -> Self:
        """Let SIGTERM interrupt the block as Ctrl-C does."""
        self._before = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Print the text if the block was interrupted or lost the API."""
        signal.signal(signal.SIGTERM, self._before)
        if isinstance(error, KeyboardInterrupt):
            self._exit("interrupted", 128 + (error.args or (signal.SIGINT,))[0])
        may_have_begun = getattr(error, "sent", False)
        if may_have_begun or (self.has_job and _is_lost(error)):
            self._exit(_reason(error), 1)

    def _exit(self, reason: str, status: int) -> None:
        note(f"{reason}\n{self.text}")
        click.get_current_context().exit(status)


def _follow(client: Client, job: Job, output: Path | None, hint: _ResumeHint) -> Job:
    """Wait until the *job* has succeeded, and show its progress on stderr.

    *output* is where the CSV will go; *hint* says so from now on.

    Raises:
        JobFailedError: it failed or was cancelled.
        ApiError: the API refused, or stays away for a minute.
    """
    hint.text, hint.has_job = _while_it_runs(job, output), True
    with progress_bars() as progress:
        last = client.wait(
            job.id, lambda now: progress("classify the folder", now.done, now.total)
        )
    hint.text = f"Job {job.id} has succeeded:\n{_command('csv', job, output)}"
    return last


def _fetch_csv(client: Client, job: Job, output: Path) -> None:
    """Write the CSV of the succeeded *job* to *output*, completely or not at all.

    The path, or the CSV itself, goes to stdout; the numbers of unreadable images and of
    files that were left out go to stderr.

    Raises:
        ApiError: there is no CSV, the API refused or cannot be reached.
        OSError: the CSV cannot be written.
    """
    if output == STDOUT or (output.exists() and not output.is_file()):
        with click.open_file(os.fspath(output), "wb") as stream:
            stream.write(client.submission(job.id))
    else:
        client.download(job.id, output)
    if job.unreadable:
        is_label = job.content.get("format") == "label"
        given = "the model's first label" if is_label else "the uniform prior"
        images = "1 image" if job.unreadable == 1 else f"{job.unreadable} images"
        note(f"{images} could not be read and got {given}: kennel jobs show {job.id}")
    if ignored := job.content.get("ignored"):
        files = "1 file or folder" if ignored == 1 else f"{ignored} files and folders"
        message = f"left out {files} {ONLY_PHOTOS}: kennel jobs report {job.id}"
        note(message)
    if output != STDOUT:
        click.echo(output)


def _while_it_runs(job: Job, output: Path | None) -> str:
    lines = [_command("wait", job, output), _command("csv", job, output)]
    lines.append(_command("cancel", job))
    return "\n".join([f"Job {job.id} goes on. Come back with one of these:", *lines])


def _command(name: str, job: Job, output: Path | None = None) -> str:
    context = click.get_current_context()
    words = ["kennel", "jobs", name, job.id]
    if name != "cancel":
        words += ["-o", str(output or "submission.csv")]
    if context.get_parameter_source("url") == ParameterSource.COMMANDLINE:
        words += ["--url", context.params["url"]]
    return f"  {shlex.join(words)}"


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(number)


def _is_lost(error: BaseException | None) -> bool:
    from kennel.client.errors import ApiBusyError, ApiError, JobFailedError

    if isinstance(error, JobFailedError) or not isinstance(error, ApiError):
        return isinstance(error, OSError)
    return isinstance(error, ApiBusyError) or not 400 <= error.status < 500


def _reason(error: BaseException | None) -> str:
    if not isinstance(error, OSError):
        return str(error)
    name = f" {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{name}"
