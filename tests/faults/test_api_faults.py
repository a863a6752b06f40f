"""F34: an API process is killed, or told to stop, during a request."""

from __future__ import annotations

import http.client
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from tests.faults.ordeal import children_of, signal_all
from tests.faults.scripted_model import ScriptedModelServer
from tests.pictures import grey
from tests.processes import free_port, is_listening, running, wait_until
from tests.worker.world import World


class Api:
    """``python -m service.main`` with two processes that answer."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[int] = []

    def predict(self) -> None:
        """Send a photo and keep the status that is answered, if one is."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "image/png"}
        with closing(connection), suppress(OSError, http.client.HTTPException):
            connection.request("POST", "/v1/predict", grey(90), headers)
            self.answers.append(connection.getresponse().status)

    def answers_again(self) -> bool:
        """Whether a photo that is sent now is answered."""
        self.predict()
        return self.answers[-1:] == [200]

    def submit(self) -> tuple[int, str]:
        """Submit the folder of photos with a key; the status and the location."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Content-Type": "application/json", "Idempotency-Key": "one"}
        with closing(connection):
            connection.request("POST", "/v1/jobs", b'{"input": "test"}', headers)
            response = connection.getresponse()
            return response.status, str(response.getheader("Location"))


@pytest.fixture
def waited_for(
    world: World, model_server: ScriptedModelServer
) -> Iterator[tuple[Api, int, threading.Thread]]:
    """An API, the process of it that holds a prediction, and who waits for that."""
    api, holding = Api(free_port()), threading.Event()
    log = world.input_root.parent / "api.log"
    environment = {**world.env(), "PORT": str(api.port), "MODEL_NAMES": "pets"}
    with running("service.main", env=environment, log=log) as process:
        wait_until(lambda: is_listening(api.port), "gunicorn listens")
        wait_until(lambda: len(children_of(process.pid)) == 2, "two processes")
        model_server.before_answer = lambda _batch: holding.set()
        model_server.hold()
        waiting = threading.Thread(target=api.predict)
        waiting.start()
        assert holding.wait(60)
        yield api, process.pid, waiting
        model_server.release()
        waiting.join()


def test_f34_prediction_under_way_is_answered_before_the_api_stops(
    waited_for: tuple[Api, int, threading.Thread], model_server: ScriptedModelServer
) -> None:
    api, main, waiting = waited_for
    os.kill(main, signal.SIGTERM)
    wait_until(lambda: len(children_of(main)) == 1, "the end of the idle process")
    model_server.release()
    waiting.join()

    assert api.answers == [200]


def test_f34_killed_processes_are_replaced_and_a_submit_can_be_repeated(
    world: World,
    waited_for: tuple[Api, int, threading.Thread],
    model_server: ScriptedModelServer,
) -> None:
    world.photos_of(1)
    api, main, waiting = waited_for
    before = api.submit()
    signal_all(children_of(main), signal.SIGKILL)
    model_server.release()
    waiting.join()

    wait_until(api.answers_again, "an answer")
    assert api.submit() == before
    assert len(world.queue.jobs()) == 1
