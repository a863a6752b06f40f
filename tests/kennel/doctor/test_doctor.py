"""`kennel doctor`: finds problems and their remedies, and changes nothing."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kennel.cli import main
from kennel.doctor.deployment import CheckResult
from kennel.doctor.examination import AREAS, examine, is_sound
from kennel.doctor.machine import file_system
from kennel.doctor.redis import wide_listeners
from models import VERSION
from models.wire.config import default_entry, render_entries
from tests.fake_model_server import CARD, FakeModelServer
from tests.kennel.scripted_api import refuses, says, scripted
from tests.service.served_model import ServedModel
from tests.worker.world import World, request, wait_until

GONE = "redis://127.0.0.1:1/0"


def findings(env: Mapping[str, str], area: str) -> dict[str, CheckResult]:
    return {each.check: each for each in examine(env, [area])[area]}


def publish(models_dir: Path, version: int = 1, **changes: Any) -> Path:
    """A version of the fake server's model, as far as the doctor looks."""
    folder = models_dir / CARD.name / str(version)
    folder.mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    card = replace(CARD, version=version, **changes)
    (folder / "card.json").write_text(card.to_json())
    return folder


def test_all_areas_of_an_empty_home_have_findings_and_remedies(tmp_path: Path) -> None:
    env = {
        "KENNEL_HOME": str(tmp_path),
        "REDIS_URL": GONE,
        "MODEL_SERVER": "127.0.0.1:1",
        "KENNEL_URL": "http://127.0.0.1:1",
    }
    report = examine(env)

    assert list(report) == list(AREAS)
    assert all(report.values())
    assert not is_sound(report)
    for found in report.values():
        for each in found:
            assert each.seen
            assert each.remedy or each.verdict == "ok", each
    assert list(tmp_path.iterdir()) == []


def test_json_and_exit_status_are_for_scripts(tmp_path: Path) -> None:
    env = {"KENNEL_HOME": str(tmp_path), "REDIS_URL": GONE}
    bad = CliRunner(env=env).invoke(main, ["doctor", "redis", "--json"])
    good = CliRunner(env=env).invoke(main, ["doctor", "settings"])
    misused = CliRunner(env=env).invoke(main, ["doctor", "tail"])

    assert (bad.exit_code, good.exit_code, misused.exit_code) == (1, 0, 2)
    assert json.loads(bad.stdout)["status"] == "failed"
    assert "1 ok" in good.stdout


def test_only_problems_are_shown_and_the_first_is_named(tmp_path: Path) -> None:
    env = {"KENNEL_HOME": str(tmp_path), "REDIS_URL": GONE}
    areas = ["machine", "redis", "jobs"]
    shown = CliRunner(env=env).invoke(main, ["doctor", *areas, "--problems"]).stdout
    quiet = CliRunner(env=env).invoke(main, ["doctor", "settings", "--problems"])

    assert "  ok " not in shown
    assert shown.splitlines()[-1].startswith("begin with redis, reachable: start it")
    assert quiet.stdout.strip() == "no problems"


def test_every_variable_that_cannot_be_used_is_named() -> None:
    env = {
        "PORT": "none",
        "MAX_IMAGES": "0",
        "RECONCILE_SECONDS": "x",
        "LOG_LEVEL": "x",
    }

    found = findings(env, "settings")

    assert {name: each.verdict for name, each in found.items()} == dict.fromkeys(
        env, "failed"
    )


@pytest.mark.parametrize(
    ("name", "meant"),
    [("REDIS_URI", "REDIS_URL"), ("RUN_DIR", "RUNS_DIR"), ("model_server", None)],
)
def test_misspelt_variable_is_told(name: str, meant: str | None) -> None:
    found = findings({name: "x"}, "settings")

    assert found[name].verdict == "warning"
    assert (meant or name.upper()) in found[name].remedy


def test_variables_of_others_are_left_alone() -> None:
    env = {"HOSTNAME": "a", "PATH": "/bin", "REDIS_URI": "x", "REDIS_URL": GONE}

    assert findings(env, "settings")["variables"].verdict == "ok"


def test_broken_variable_does_not_keep_the_rest_from_being_looked_at() -> None:
    assert examine({"PORT": "none"}, ["machine"])["machine"]


def test_kept_up_work_is_sound(world: World) -> None:
    world.photos_of(3)
    env = world.env()
    before = findings(env, "jobs")
    job = world.queue.submit(request())
    waiting = findings(env, "jobs")
    world.start_reconciler()
    world.start_worker()
    world.wait_for(job, "succeeded")
    wait_until(lambda: is_sound(examine(env, ["jobs"])), 20)

    assert before["workers"].verdict == "warning"
    assert before["reconciler"].verdict == "failed"
    assert waiting["workers"].verdict == "failed"


def test_stalled_job_and_silent_reconciler_are_named(world: World) -> None:
    world.photos_of(3)
    job = world.queue.submit(request())
    long_ago = time.time() - 3600
    lock = world.runs_dir / ".reconciler.lock"
    lock.touch()
    for path in (lock, world.runs_dir / job.id, *(world.runs_dir / job.id).iterdir()):
        os.utime(path, (long_ago, long_ago))

    found = findings(world.env(), "jobs")

    assert job.id in found["progress"].seen
    assert found["progress"].verdict == "warning"
    assert found["reconciler"].verdict == "failed"


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = findings({"RUNS_DIR": str(tmp_path / "runs")}, "folders")

    assert found["runs"].verdict == "ok"
    assert found["runs locks"].verdict == "ok"
    assert found["runs room"].verdict in {"ok", "warning"}
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_message_modules_of_an_image_are_no_tensorflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorflow/core").mkdir(parents=True)
    (tmp_path / "tensorflow/core/types_pb2.py").write_text("")
    spec = PathFinder.find_spec("tensorflow", [str(tmp_path)])
    assert spec is not None
    monkeypatch.setitem(sys.modules, "tensorflow", module_from_spec(spec))

    assert "not installed" in findings({}, "machine")["tensorflow"].seen


def test_file_system_is_that_of_the_nearest_mount(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "21 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"35 21 0:40 / {tmp_path} rw shared:1 - nfs4 server:/ rw\n"
    )

    assert file_system(tmp_path, table) == "nfs4"
    assert file_system(Path("/usr"), table) == "ext4"
    assert file_system(Path("/usr"), tmp_path / "none") is None


def test_port_that_is_open_beyond_loopback_is_found(tmp_path: Path) -> None:
    # 6379 on 127.0.0.1, 0.0.0.0 and ::, and a connection, as /proc/net has them.
    (tmp_path / "tcp").write_text(
        "  sl  local_address rem_address   st\n"
        "   0: 0100007F:18EB 00000000:0000 0A\n"
        "   1: 00000000:18EB 00000000:0000 0A\n"
        "   2: 0500000A:18EB 0600000A:0050 01\n"
        "   3: 0700000A:1F90 00000000:0000 0A\n"
    )
    (tmp_path / "tcp6").write_text(f"head\n   0: {'0' * 32}:18EB {'0' * 32}:0000 0A\n")

    assert wide_listeners(6379, tmp_path) == ["0.0.0.0", "::"]
    assert wide_listeners(8080, tmp_path) == ["10.0.0.7"]
    assert wide_listeners(1, tmp_path / "none") == []


def test_published_models_that_are_complete_are_sound(tmp_path: Path) -> None:
    publish(tmp_path)
    config = render_entries([default_entry(CARD.name, Path("/models"))])
    (tmp_path / "models.config").write_text(config)

    found = findings({"MODELS_DIR": str(tmp_path)}, "models")

    assert {each.verdict for each in found.values()} == {"ok"}
    assert "pets 1" in found


def test_default_model_that_is_not_served_is_told(tmp_path: Path) -> None:
    publish(tmp_path)
    env = {"MODELS_DIR": str(tmp_path)}

    sound = findings(env, "models")["default model"]
    wrong = findings({**env, "DEFAULT_MODEL": "cows"}, "models")["default model"]

    assert (sound.verdict, sound.seen.split()[0]) == ("ok", CARD.name)
    assert (wrong.verdict, wrong.seen) == ("failed", "DEFAULT_MODEL=cows is not served")


@pytest.mark.parametrize(
    ("broken", "check"), [("card.json", "pets 1"), ("saved_model.pb", "pets 1")]
)
def test_incomplete_version_is_told(tmp_path: Path, broken: str, check: str) -> None:
    (publish(tmp_path) / broken).unlink()

    found = findings({"MODELS_DIR": str(tmp_path)}, "models")

    assert found[check].verdict == "failed"


def test_configured_version_that_is_not_there_is_told(tmp_path: Path) -> None:
    publish(tmp_path)
    entry = replace(default_entry(CARD.name, Path("/models")), labels=(("canary", 7),))
    (tmp_path / "models.config").write_text(render_entries([entry]))

    found = findings({"MODELS_DIR": str(tmp_path)}, "models")

    assert found[CARD.name].verdict == "failed"
    assert "7" in found[CARD.name].seen


def test_broken_configuration_is_told(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "models.config").write_text("model_config_list {")

    assert (
        findings({"MODELS_DIR": str(tmp_path)}, "models")["models"].verdict == "failed"
    )


@pytest.mark.parametrize(
    ("changes", "verdict"), [({}, "ok"), ({"temperature": 2.0}, "failed")]
)
def test_served_version_has_to_agree_with_its_card(
    tmp_path: Path,
    model_server: FakeModelServer,
    changes: dict[str, Any],
    verdict: str,
) -> None:
    publish(tmp_path, **changes)
    env = {"MODELS_DIR": str(tmp_path), "MODEL_SERVER": model_server.target}

    found = findings(env, "model-server")

    assert found["pets"].verdict == "ok"
    assert found["pets 1"].verdict == verdict


@pytest.mark.parametrize("area", ["models", "model-server"])
@pytest.mark.parametrize(("device", "verdict"), [("cpu", "ok"), ("gpu", "failed")])
def test_int8_version_on_a_gpu_is_told(
    tmp_path: Path,
    model_server: FakeModelServer,
    area: str,
    device: str,
    verdict: str,
) -> None:
    publish(tmp_path, precision="int8")
    model_server.card = replace(CARD, precision="int8")
    env = {
        "MODELS_DIR": str(tmp_path),
        "MODEL_SERVER": model_server.target,
        "MODEL_SERVER_DEVICE": device,
    }

    found = findings(env, area)["pets 1"]

    assert found.verdict == verdict
    assert ("version 1 of 'pets' is int8" in found.seen) == (device == "gpu")
    assert ("kennel export RUN --precision float16" in found.remedy) == (
        device == "gpu"
    )


def test_model_server_that_is_away_is_told(tmp_path: Path) -> None:
    publish(tmp_path)
    env = {"MODELS_DIR": str(tmp_path), "MODEL_SERVER": "127.0.0.1:1"}

    found = findings(env, "model-server")["pets"]

    assert found.verdict == "failed"
    assert "may still be loading version 1" in found.remedy
    assert "keeps it shut while" in found.remedy


@pytest.fixture
def served() -> Iterator[ServedModel]:
    with ServedModel((1,)) as server:
        yield server


def look_at_two_versions(
    models_dir: Path, served: ServedModel
) -> dict[str, CheckResult]:
    for version in (1, 2):
        publish(models_dir, version)
    env = {"MODELS_DIR": str(models_dir), "MODEL_SERVER": served.target}
    return findings(env, "model-server")


def test_version_that_is_still_loading_is_named(
    tmp_path: Path, served: ServedModel
) -> None:
    served.loading = (2,)

    found = look_at_two_versions(tmp_path, served)["pets loaded"]

    assert found.verdict == "warning"
    assert re.search(r"version 2 is LOADING, published \d+ seconds ago", found.seen)
    assert "log, which says why" in found.remedy


def test_version_that_cannot_be_loaded_is_named_with_its_reason(
    tmp_path: Path, served: ServedModel
) -> None:
    served.broken = {2: "the graph is cut off"}

    found = look_at_two_versions(tmp_path, served)["pets loaded"]

    assert found.verdict == "failed"
    assert "version 2 cannot be loaded: the graph is cut off" in found.seen


def test_every_version_is_named_while_none_answers(
    tmp_path: Path, served: ServedModel
) -> None:
    served.versions, served.loading, served.broken = (), (2,), {1: "cut off"}

    found = look_at_two_versions(tmp_path, served)["pets"]

    assert found.verdict == "failed"
    assert "version 2 is LOADING" in found.seen
    assert "version 1 cannot be loaded: cut off" in found.seen


def test_reason_is_told_where_the_models_cannot_be_seen(
    tmp_path: Path, served: ServedModel
) -> None:
    served.versions, served.broken = (), {1: "cut off"}
    env = {
        "KENNEL_HOME": str(tmp_path),
        "MODEL_NAMES": "pets",
        "MODEL_SERVER": served.target,
    }

    found = findings(env, "model-server")["pets"]

    assert "version 1 cannot be loaded: cut off" in found.seen


def test_version_that_the_api_sees_loading_for_long_is_told() -> None:
    problem = "version 4 has been loading for 75 s"
    versions = [{"version": 4, "problem": problem}, {"version": 3}]
    readiness = says({"status": "ready", "parts": {}})
    document = says({"info": {"version": VERSION}})
    models = says({"models": [{"name": "pets", "versions": versions}]})
    with scripted(readiness, document, models) as api:
        env = {"KENNEL_URL": api.url, "KENNEL_API_KEY": "k" * 43}
        found = findings(env, "api")["versions"]

    assert (found.verdict, found.seen) == ("warning", f"pets {problem}")
    assert api.seen[-1].headers["Authorization"] == "Bearer " + "k" * 43


def test_api_that_does_not_tell_versions_is_not_at_fault() -> None:
    readiness = says({"status": "ready", "parts": {}})
    document = says({"info": {"version": VERSION}})
    with scripted(readiness, document, refuses(401)) as api:
        found = findings({"KENNEL_URL": api.url}, "api")["versions"]

    assert found.verdict == "unchecked"
    assert "KENNEL_API_KEY" in found.remedy


@pytest.mark.parametrize(
    ("mode", "verdict"), [(0o600, "ok"), (0o644, "warning"), (0o666, "failed")]
)
def test_secrets_are_for_their_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, verdict: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").touch()
    (tmp_path / ".env").chmod(mode)

    found = findings({"KENNEL_HOME": str(tmp_path)}, "secrets")

    assert found[str(tmp_path / ".env")].verdict == verdict


@pytest.mark.parametrize(
    ("status", "verdict"), [("ready", "ok"), ("degraded", "warning")]
)
def test_readiness_is_the_apis_own_word(status: str, verdict: str) -> None:
    parts = {"redis": {"status": "unavailable", "detail": "Redis is away"}}
    shown = {} if status == "ready" else parts
    with scripted(says({"status": status, "parts": shown})) as api:
        found = findings({"KENNEL_URL": api.url}, "api")

    assert found["ready"].verdict == verdict
    assert ("Redis is away" in found["ready"].seen) == (status == "degraded")


@pytest.mark.parametrize(
    ("host", "verdict"),
    [
        ("127.0.0.1", "ok"),
        ("::1", "ok"),
        ("0.0.0.0", "warning"),
        ("kennel.lan", "warning"),
    ],
)
def test_api_that_is_open_to_others_is_told(host: str, verdict: str) -> None:
    with scripted(says({"status": "ready", "parts": {}})) as api:
        found = findings({"KENNEL_URL": api.url, "HOST": host}, "api")

    assert found["exposure"].verdict == verdict
    assert host in found["exposure"].seen
    assert (found["exposure"].remedy != "") == (verdict == "warning")


def test_api_that_is_called_by_another_name_is_told() -> None:
    ready = says({"status": "ready", "parts": {}})
    with scripted(ready, refuses(421, "misdirected_request")) as api:
        found = findings({"KENNEL_URL": api.url}, "api")

    assert found["version"].verdict == "failed"
    assert "ALLOWED_HOSTS" in found["version"].remedy


def test_api_without_a_model_is_told() -> None:
    with scripted(refuses(503)) as api:
        found = findings({"KENNEL_URL": api.url}, "api")

    assert found["ready"].verdict == "failed"
    assert "model-server" in found["ready"].remedy
