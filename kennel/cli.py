"""The `kennel` command line: loads one command, and turns errors into exit codes.

Results go to stdout, progress to stderr; exit codes: 0 done, 1 failed, 2 misuse,
130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from typing import Any, Final

import click

from models.environment import read_max_pixels
from models.errors import InvalidRequestError, KennelError
from models.images.files import limit_pixels

COMMANDS: Final = {
    "demo": "kennel.commands.operations:demo",
    "prepare": "kennel.commands.prepare:prepare",
    "networks": "kennel.commands.train:networks",
    "recipes": "kennel.commands.train:recipes",
    "train": "kennel.commands.train:train",
    "evaluate": "kennel.commands.runs:evaluate",
    "report": "kennel.commands.runs:report",
    "export": "kennel.commands.runs:export",
    "models": "kennel.commands.versions:models",
    "default": "kennel.commands.versions:default",
    "rollback": "kennel.commands.versions:rollback",
    "label": "kennel.commands.versions:label",
    "rollout": "kennel.commands.rollout:rollout",
    "prune": "kennel.commands.versions:prune",
    "remove": "kennel.commands.versions:remove",
    "up": "kennel.commands.serve:up",
    "model-server": "kennel.commands.serve:model_server",
    "serving-config": "kennel.commands.serving_config:serving_config",
    "predict": "kennel.commands.predict:predict",
    "submit": "kennel.commands.jobs:submit",
    "jobs": "kennel.commands.jobs:jobs",
    "keys": "kennel.commands.operations:keys",
    "score": "kennel.commands.scoring:score",
    "kaggle": "kennel.commands.scoring:kaggle",
    "doctor": "kennel.commands.operations:doctor",
    "backup": "kennel.commands.operations:backup",
    "restore": "kennel.commands.operations:restore",
}
"""Each is imported when it is run, so that `kennel --help` is instant."""

INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells count."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name].split(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        # A path that is not UTF-8 is printed with escapes, as on stderr.
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except InvalidRequestError as error:
            click.echo(f"kennel: {error}", err=True)
            ctx.exit(2)
        except KennelError as error:
            click.echo(f"kennel: {error}", err=True)
            ctx.exit(1)
        except UnicodeEncodeError as error:
            click.echo(f"kennel: {error.object[:80]!a} is not UTF-8", err=True)
            ctx.exit(2)
        except KeyboardInterrupt:
            click.echo("kennel: interrupted", err=True)
            ctx.exit(INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of stdout is gone: click ends quietly
            name = f" {error.filename}" if error.filename else ""
            click.echo(f"kennel: {error.strerror or error}{name}", err=True)
            ctx.exit(1)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="kennel")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Turn labelled photos into a served classifier, and a folder into a Kaggle CSV."""
    if ctx.invoked_subcommand != "doctor":  # doctor reports bad variables itself
        limit_pixels(read_max_pixels(os.environ))


if __name__ == "__main__":
    sys.exit(main())
