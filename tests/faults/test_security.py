"""F28: write access to Redis does not let anyone run code in a worker."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

from tests.worker.world import SHARD_SIZE, World, request, wait_until

ALLOWED = "worker.jobs.assemble"


class Payload:
    """Runs a command where it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> Any:
        program = f"open({str(self._target)!r}, 'w').close()"
        return subprocess.check_call, ([sys.executable, "-c", program],)


def push(world: World, function: str, *args: Any, **options: Any) -> Job:
    queue = Queue(
        "kennel",
        connection=Redis.from_url(world.redis.url),
        serializer=JSONSerializer,
    )
    return queue.enqueue_call(function, args=list(args), **options)


def push_function(world: World, target: Path) -> Job:
    return push(world, "os.system", f"touch {target}")


def push_pickle(world: World, target: Path) -> Job:
    queue = Queue("kennel", connection=Redis.from_url(world.redis.url))
    return queue.enqueue_call("os.system", args=(f"touch {target}",))


def push_pickled_data(world: World, target: Path) -> Job:
    job = push(world, ALLOWED, "nope")
    job.connection.hset(job.key, "data", pickle.dumps(Payload(target)))
    return job


def push_pickled_meta(world: World, target: Path) -> Job:
    job = push(world, ALLOWED, "nope")
    job.connection.hset(job.key, "meta", pickle.dumps(Payload(target)))
    return job


def push_method(world: World, target: Path) -> Job:
    return push(world, "pathlib.Path.touch", str(target))


def push_callback(world: World, target: Path) -> Job:
    job = push(
        world,
        ALLOWED,
        "nope",
        on_success=Callback(f"{__name__}.push"),
        on_failure=Callback(f"{__name__}.push"),
    )
    job.connection.hset(job.key, "success_callback_name", "os.system")
    job.connection.hset(job.key, "failure_callback_name", "os.system")
    return job


ATTEMPTS = {
    "a function": push_function,
    "a pickled job": push_pickle,
    "pickled data": push_pickled_data,
    "pickled meta": push_pickled_meta,
    "a method": push_method,
    "a callback": push_callback,
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_foreign_code_is_not_run(
    world: World, tmp_path: Path, attempt: str, capfd: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "owned"
    ATTEMPTS[attempt](world, target)
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request())
    worker = world.start_worker()

    world.wait_for(job, "succeeded")

    assert not target.exists()
    assert worker.poll() is None
    said = capfd.readouterr().err
    harmless = attempt in {"a callback", "pickled meta"}
    assert harmless or "broke off" in said


def test_foreign_function_is_named_in_the_log(
    world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign = push_function(world, tmp_path / "owned")
    world.start_worker()
    wait_until(lambda: foreign.get_status(refresh=True) == "failed", 30)

    assert "'os.system' is not a function that workers run" in capfd.readouterr().err


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that nobody should call, and who called."""
    calls: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", calls
        server.shutdown()
        thread.join()


def test_webhook_is_not_called(world: World, tmp_path: Path) -> None:
    with listening() as (url, calls):
        hooked = push(world, ALLOWED, "nope", webhooks=[Webhook(url, "finished")])
        failing = push(world, "os.system", "x", webhooks=[Webhook(url, "failed")])
        world.photos_of(SHARD_SIZE)
        job = world.queue.submit(request())
        worker = world.start_worker()
        world.wait_for(job, "succeeded")

        assert hooked.get_status(refresh=True) == "finished"
        assert failing.get_status(refresh=True) == "failed"
        assert calls == []
        assert worker.poll() is None
