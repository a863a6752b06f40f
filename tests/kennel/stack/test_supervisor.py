"""Children are restarted, stopped in order, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kennel.stack.supervisor import Child, Supervisor
from tests.processes import wait_until

SLEEP = "import time; print('up', flush=True); time.sleep(100)"


def child(name: str, program: str, stop_seconds: float = 5) -> Child:
    return Child(name, (sys.executable, "-c", program), os.environ, stop_seconds)


@pytest.fixture
def lines() -> list[str]:
    return []


@pytest.fixture
def supervisor(lines: list[str]) -> Iterator[Supervisor]:
    made = Supervisor(lines.append)
    yield made
    made.stop()


def tending(
    supervisor: Supervisor, condition: Callable[[], object]
) -> Callable[[], object]:
    def tend() -> object:
        supervisor.tend()
        return condition()

    return tend


def test_output_is_prefixed_with_the_childs_name(
    supervisor: Supervisor, lines: list[str]
) -> None:
    supervisor.start(child("api", "print('hello')"))

    wait_until(lambda: lines, "a line of output")

    assert lines[0] == f"{'api':<12} | hello"


def test_killed_child_is_restarted(supervisor: Supervisor, lines: list[str]) -> None:
    supervisor.start(child("worker", SLEEP))
    first = supervisor.pids()["worker"]
    wait_until(lambda: lines, "the first start")

    os.kill(first, signal.SIGKILL)

    wait_until(
        tending(supervisor, lambda: supervisor.pids()["worker"] != first), "a restart"
    )
    assert any("restarting in 0.5 s" in line for line in lines)


def test_child_that_ends_with_zero_is_restarted_too(
    supervisor: Supervisor, lines: list[str]
) -> None:
    supervisor.start(child("worker", "print('done')"))

    wait_until(
        tending(supervisor, lambda: sum("done" in line for line in lines) >= 2),
        "a second run",
    )


def test_back_off_grows_while_a_child_keeps_failing(
    supervisor: Supervisor, lines: list[str]
) -> None:
    supervisor.start(child("worker", "raise SystemExit(3)"))

    wait_until(
        tending(supervisor, lambda: any("in 1 s" in line for line in lines)),
        "a longer back-off",
    )
    assert any("ended with code 3, restarting in 0.5 s" in line for line in lines)


def test_child_that_fails_is_asked_for_its_reason(
    supervisor: Supervisor, lines: list[str]
) -> None:
    failing = (sys.executable, "-c", "raise SystemExit(3)")
    supervisor.start(Child("redis", failing, os.environ, explain=lambda: "no room"))

    wait_until(tending(supervisor, lambda: lines), "its end")

    assert "ended with code 3 (no room), restarting in 0.5 s" in lines[0]


def test_stop_ends_the_last_started_first_and_kills_the_stubborn(
    supervisor: Supervisor, lines: list[str]
) -> None:
    polite = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('bye', flush=True), sys.exit()))\n"
        "print('up', flush=True); time.sleep(100)"
    )
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
    supervisor.start(child("first", polite))
    supervisor.start(child("second", polite))
    supervisor.start(child("third", stubborn, stop_seconds=0.2))
    wait_until(lambda: len(lines) >= 3, "three starts")
    pids = supervisor.pids()

    supervisor.stop()

    wait_until(lambda: sum("bye" in line for line in lines) == 2, "both farewells")
    assert [line.split()[0] for line in lines if "bye" in line] == ["second", "first"]
    assert not any(is_alive(pid) for pid in pids.values())


@pytest.mark.skipif(sys.platform != "linux", reason="uses Linux's parent death signal")
def test_killed_supervisor_leaves_no_orphan(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    program = (
        "import os, sys, time\n"
        "from kennel.stack.supervisor import Child, Supervisor\n"
        "supervisor = Supervisor(print)\n"
        f"supervisor.start(Child('c', (sys.executable, '-c', {SLEEP!r}), os.environ))\n"
        f"open({str(pid_file)!r}, 'w').write(str(supervisor.pids()['c']))\n"
        "time.sleep(100)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program])
    wait_until(lambda: pid_file.exists() and pid_file.read_text(), "the child")
    time.sleep(0.1)
    orphan = int(pid_file.read_text())

    launcher.kill()
    launcher.wait()

    wait_until(lambda: not is_alive(orphan), "the child's end")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
