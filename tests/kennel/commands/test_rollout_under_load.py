"""A version is exported, rolled out and rolled back under load."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from kennel.cli import main
from kennel.client import Client
from models.rollouts import SEEN_SECONDS
from tests.export.publication.versions import serve
from tests.kennel.stack.test_local_stack import csv_of, ended_job, is_ready, kennel_up
from tests.pictures import grey, write_folder
from tests.processes import wait_until
from tests.tiny_model import publish_tiny_model

pytestmark = [pytest.mark.tensorflow, pytest.mark.long, pytest.mark.timeout(240)]

THREADS = 4
PAUSE_SECONDS = 0.01
"""Between two requests of a thread: the commands and jobs need a core too."""
ENOUGH = 150
"""Requests in each phase whose answers are counted: with the others 1,000 and more."""


@dataclass
class Load:
    """Requests that name no version, one after the other in each thread.

    Attributes:
        answers: the version and when its request began, by the monotonic clock.
        failures: whatever was no answer.
    """

    address: str
    answers: list[tuple[int, float]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def keep_asking(self) -> None:
        photo, headers = grey(90), {"Content-Type": "image/png"}
        with closing(http.client.HTTPConnection(self.address, timeout=30)) as line:
            while not self.stopped.is_set():
                began = time.monotonic()
                line.request("POST", "/v1/predict", photo, headers)
                response = line.getresponse()
                body = response.read()
                if response.status != 200:
                    self.failures.append(body.decode())
                    continue
                self.answers.append((json.loads(body)["version"], began))
                self.stopped.wait(PAUSE_SECONDS)

    def since(self, moment: float) -> Counter[int]:
        return Counter(version for version, began in self.answers if began >= moment)

    def settled(self) -> Counter[int]:
        """The versions of enough answers, from when all API processes know."""
        moment = time.monotonic() + SEEN_SECONDS
        wait_until(lambda: self.since(moment).total() >= ENOUGH, "enough answers", 120)
        return self.since(moment)


@contextmanager
def load(url: str) -> Iterator[Load]:
    under = Load(urlsplit(url).netloc)
    threads = [threading.Thread(target=under.keep_asking) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield under
    finally:
        under.stopped.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Version 2 answers, 1 is loaded beside it, and 3 waits; with a folder of photos."""
    for version in (1, 2, 3):
        publish_tiny_model(tmp_path / "models", version)
    serve(tmp_path / "models", 2, 1)
    write_folder(tmp_path / "data" / "test", 200)
    return tmp_path


def test_no_request_fails_and_jobs_end_on_the_version_that_they_began_on(
    home: Path,
) -> None:
    with kennel_up(home) as (_, url):
        client = Client(url)
        wait_until(lambda: is_ready(client), "readiness", 90)

        def kennel(*arguments: str) -> str:
            environment = {"KENNEL_HOME": str(home), "KENNEL_URL": url}
            result = CliRunner().invoke(main, arguments, env=environment)
            assert result.exit_code == 0, result.output
            return result.output

        with load(url) as under:
            jobs = [client.submit("test")]
            kennel("rollout", "start", "pets", "3", "--percent", "0")
            assert set(under.settled()) == {2}
            assert set(under.since(0)) == {2}
            for percent in (10, 50):
                kennel("rollout", "set", "pets", f"--percent={percent}", "--mirror=20")
                check_share(under.settled(), percent)
            comparison = json.loads(kennel("rollout", "status", "pets", "--json"))
            jobs.append(client.submit("test"))
            kennel("rollout", "promote", "pets")
            in_flight = client.job(jobs[1].id)
            assert set(under.settled()) == {3}
            kennel("rollback", "pets", "2")
            assert set(under.settled()) == {2}
            kennel("rollout", "start", "pets", "3", "--percent", "50")
            check_share(under.settled(), 50)
            kennel("rollout", "abort", "pets")
            assert set(under.settled()) == {2}
        ended = [csv_of(client, ended_job(client, job)) for job in jobs]
        pinned = csv_of(client, ended_job(client, client.submit("test", version=2)))

    assert under.failures == []
    assert len(under.answers) >= 1000
    assert not in_flight.is_over
    assert ended == [pinned, pinned]
    check_comparison(comparison["comparison"])


def check_share(answers: Counter[int], percent: float) -> None:
    share, total = percent / 100, answers.total()
    # Five standard deviations of a binomial count.
    allowed = 5 * (total * share * (1 - share)) ** 0.5
    assert set(answers) == {2, 3}
    assert abs(answers[3] - total * share) < allowed


def check_comparison(comparison: dict[str, Any]) -> None:
    stable, canary = comparison["stable"], comparison["canary"]
    assert stable["errors"] == canary["errors"] == 0
    assert min(stable["requests"], canary["requests"]) > 0
    # The versions of the tiny model have other temperatures, and the same best label.
    assert comparison["agreement"]["same_label"] == 1
    assert comparison["agreement"]["mean_difference"] > 0.01
    assert comparison["scores"]["bits"] == 1
