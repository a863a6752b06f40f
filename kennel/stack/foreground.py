"""A local stack in the foreground of a terminal: `kennel up`."""

from __future__ import annotations

import signal
import threading

import click

from kennel.settings import KennelSettings
from kennel.stack.local_stack import LocalStack
from kennel.stack.processes import StackOptions
from kennel.stack.supervisor import POLL_SECONDS


def run_stack(settings: KennelSettings, options: StackOptions) -> None:
    """Run a stack in the foreground until SIGINT or SIGTERM.

    Raises:
        InvalidRequestError: a port is taken, there is no redis-server, or
            MODELS_DIR/models.config is broken.
        QueueUnavailableError: Redis does not start.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopping.set())
    stack = LocalStack(settings, options, click.echo)
    click.echo(f"kennel       | starting, the API will be at {stack.url}")
    try:
        stack.start()
        while not stopping.wait(POLL_SECONDS):
            stack.tend()
        click.echo("kennel       | stopping")
    finally:
        stack.stop()
    click.echo("kennel       | stopped; unfinished jobs go on at the next start")
