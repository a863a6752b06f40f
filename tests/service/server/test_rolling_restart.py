"""Rolling restarts and reloads of the API lose no request."""

from __future__ import annotations

import http.client
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.pictures import grey
from tests.processes import wait_until
from tests.service.api_process import ApiProcess, Load
from tests.service.served_model import ServedModel

REQUESTS = 600
pytestmark = [pytest.mark.long, pytest.mark.timeout(240)]


@pytest.fixture
def apis(served: ServedModel, tmp_path: Path) -> list[ApiProcess]:
    env = {"DRAIN_SECONDS": "2", "WEB_WORKERS": "1"}
    return [ApiProcess(tmp_path, served.target, **env) for _ in range(2)]


def test_rolling_restart_loses_no_request(apis: list[ApiProcess]) -> None:
    with ExitStack() as first, ExitStack() as second:
        for api in apis:
            first.enter_context(api.running())
        with Load(apis, grey(9), clients=4) as load:
            load.wait_for(REQUESTS // 4)
            for api in apis:
                api.tell(signal.SIGTERM)
                assert api.process.wait(60) == 0
                second.enter_context(api.running())
                load.wait_for(REQUESTS // 4)
            load.wait_for(max(0, REQUESTS - load.statuses.total()))

    assert load.failed == {}
    assert load.statuses[200] >= REQUESTS


def test_reload_loses_no_request_and_stays_ready(
    served: ServedModel, tmp_path: Path
) -> None:
    api = ApiProcess(tmp_path, served.target, DRAIN_SECONDS="2")
    with api.running(), Load([api], grey(9), clients=4) as load:
        for _ in range(3):
            before = api.workers()
            api.tell(signal.SIGHUP)
            wait_until(partial(are_gone, api, before), "new workers", 60)
            assert api.is_ready()
        load.wait_for(max(0, REQUESTS - load.statuses.total()))

    assert load.failed == {}
    assert load.statuses[200] >= REQUESTS


def test_stopping_api_says_so_first_and_answers_until_it_goes(
    served: ServedModel, tmp_path: Path
) -> None:
    """Also on a connection that was open before; each answer closes its own."""
    api = ApiProcess(tmp_path, served.target, DRAIN_SECONDS="3")
    with api.running() as process:
        kept = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
        kept.request("GET", "/livez")
        first = kept.getresponse()
        first.read()
        assert not first.will_close
        api.tell(signal.SIGTERM)
        wait_until(lambda: api.probe() == 503, "the drain")
        kept.request("POST", "/v1/predict", grey(9), {"Content-Type": "image/png"})
        last = kept.getresponse()
        last.read()
        kept.close()

        assert (last.status, last.will_close) == (200, True)
        assert process.wait(60) == 0


def test_second_signal_does_not_wait_for_the_drain(
    served: ServedModel, tmp_path: Path
) -> None:
    api = ApiProcess(tmp_path, served.target, DRAIN_SECONDS="300")
    with api.running() as process:
        api.tell(signal.SIGTERM)
        wait_until(lambda: api.probe() == 503, "the drain")
        api.tell(signal.SIGTERM)

        assert process.wait(60) == 0


def test_request_in_flight_is_answered(served: ServedModel, tmp_path: Path) -> None:
    served.delay_seconds = 1.0
    api = ApiProcess(tmp_path, served.target)
    with api.running() as process:
        asked = http.client.HTTPConnection("127.0.0.1", api.port, timeout=30)
        asked.request("POST", "/v1/predict", grey(9), {"Content-Type": "image/png"})
        wait_until(lambda: "serving_default" in served.calls, "the request")
        api.tell(signal.SIGTERM)

        assert asked.getresponse().status == 200
        asked.close()
        assert process.wait(60) == 0


def test_predictions_fail_only_while_the_model_server_is_away(
    served: ServedModel, tmp_path: Path
) -> None:
    """503 with Retry-After; the API that is ready again refuses nobody."""
    api = ApiProcess(tmp_path, served.target)
    with api.running(), Load([api], grey(9), clients=4) as load:
        load.wait_for(50)
        assert load.failed == {}
        served.stop()
        wait_until(lambda: not load.has_ready(), "the balancer's notice")
        wait_until(lambda: load.failed, "a refused prediction")
        served.start()
        wait_until(load.has_ready, "readiness", 60)
        failed = dict(load.failed)
        load.wait_for(200)

    assert load.failed == failed
    assert set(failed) == {503}
    assert all(load.retry_after)


def are_gone(api: ApiProcess, pids: set[int]) -> bool:
    return not pids & api.workers()
