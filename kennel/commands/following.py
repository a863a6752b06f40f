"""A job until its CSV is here, for `kennel submit`, `kennel jobs wait` and `jobs csv`.

The job does not need the command that follows it: a command that ends before the job
does prints how to come back to it.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from kennel.api.answers import Job
    from kennel.client import Client

STDOUT: Final = Path("-")
ONLY_PHOTOS: Final = "(a job takes the photos right in its folder)"

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _check_output(_: click.Context, __: click.Parameter, value: Path | None) -> Any:
    # Before the job: its CSV would have nowhere to go after hours of work.
    if value is None or value == STDOUT:
        return value
    if not value.parent.is_dir():
        raise click.BadParameter(f"there is no folder {value.parent}: make it first")
    if not os.access(value.parent, os.W_OK):
        raise click.BadParameter(f"the folder {value.parent} may not be written")
    return value


def output_option(default: str | None, text: str) -> Callable[[_Command], _Command]:
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


class ResumeHint:
    """Prints ``text``, how to come back to the job, when its command ends early.

    The block ends the command with 130 after Ctrl-C, 143 after SIGTERM, and 1 if the API
    is lost or the CSV cannot be written. Other errors pass: the API refused, the job
    failed, or certainly none was started.
    """

    def __init__(self, text: str) -> None:
        """Begin with this *text*; it may be changed on the way."""
        self.text = text
        self.has_job = False
        self._before: Any = signal.SIG_DFL

    def __enter__(self) -> Self:
        """Let SIGTERM interrupt the block as Ctrl-C does."""
        self._before = signal.signal(signal.SIGTERM, _interrupt)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        """Print the text if the block did not come to its end."""
        signal.signal(signal.SIGTERM, self._before)
        if isinstance(error, KeyboardInterrupt):
            self._exit("interrupted", 128 + (error.args or (signal.SIGINT,))[0])
        may_have_begun = getattr(error, "sent", False)
        if may_have_begun or (self.has_job and _is_lost(error)):
            self._exit(_reason(error), 1)

    def _exit(self, reason: str, status: int) -> None:
        click.echo(f"kennel: {reason}\n{self.text}", err=True)
        click.get_current_context().exit(status)


def follow(client: Client, job: Job, output: Path | None, hint: ResumeHint) -> Job:
    """The *job* when it has succeeded; shows its progress on stderr meanwhile.

    *output* is where the CSV will go; *hint* says so from now on.

    Raises:
        JobFailedError: it failed or was cancelled.
        ApiError: the API refused, or stays away for a minute.
    """
    from kennel.progress import progress_bars

    hint.text, hint.has_job = _while_it_runs(job, output), True
    with progress_bars() as progress:
        last = client.wait(
            job.id, lambda now: progress("classify the folder", now.done, now.total)
        )
    hint.text = f"Job {job.id} has succeeded:\n{_command('csv', job, output)}"
    return last


def fetch_csv(client: Client, job: Job, output: Path) -> None:
    """Write the CSV of the *job*, which has succeeded, all of it or nothing.

    Its path goes to stdout, or the CSV itself; how many images could not be read, and
    how many files were left out, goes to stderr.

    Raises:
        ApiError: it is not there, the API refused or cannot be reached.
        OSError: it cannot be written.
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
        click.echo(
            f"kennel: {images} could not be read and got {given}: kennel jobs show "
            f"{job.id}",
            err=True,
        )
    if ignored := job.content.get("ignored"):
        files = "1 file or folder" if ignored == 1 else f"{ignored} files and folders"
        message = f"left out {files} {ONLY_PHOTOS}: kennel jobs report {job.id}"
        click.echo(f"kennel: {message}", err=True)
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
    from kennel.api.errors import ApiBusyError, ApiError, JobFailedError

    if isinstance(error, JobFailedError) or not isinstance(error, ApiError):
        return isinstance(error, OSError)
    return isinstance(error, ApiBusyError) or not 400 <= error.status < 500


def _reason(error: BaseException | None) -> str:
    if not isinstance(error, OSError):
        return str(error)
    name = f" {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{name}"
