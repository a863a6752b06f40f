"""kennel models, rollback, label, prune; servers that follow the files they write."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from export.publication.served import find_default, read_served
from kennel.commands import versions
from kennel.settings import KennelSettings
from kennel.stack.local_stack import LocalModelConfig
from models.contract import CARD_FILE, ModelCard
from models.errors import ConflictError, NotFoundError
from models.wire.client import ModelServerClient
from models.wire.config import (
    ModelEntry,
    published_versions,
    read_model_config,
    render_entries,
)
from models.wire.messages import ModelRef
from service.app import create_app
from service.settings import ServiceSettings
from tests.export.publication.versions import serve, write_versions
from tests.kennel.commands.test_jobs import JOB
from tests.kennel.scripted_api import says, scripted
from tests.pictures import grey, write_folder
from tests.processes import free_port, running, wait_until
from tests.service.served_model import ServedModel
from tests.tiny_model import publish_tiny_model
from tests.worker.made_runs import create_run
from worker.manifest import render_manifest
from worker.queue import JobQueue, JobRequest
from worker.run_folder import now
from worker.sources.local import LocalFolder
from worker.sources.source import list_photos

PETS = ModelRef("pets")
ANY = "requests that name no model"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KennelSettings:
    monkeypatch.setenv("KENNEL_HOME", str(tmp_path))
    monkeypatch.setenv("KENNEL_URL", f"http://127.0.0.1:{free_port()}")
    return KennelSettings.from_env(os.environ)


def run(command: str, *arguments: str) -> Result:
    result = CliRunner().invoke(
        getattr(versions, command), arguments, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result


def queue_job(settings: KennelSettings, version: int) -> str:
    write_folder(settings.input_root / "test", 3)
    request = JobRequest("pets", version, ("cat", "dog"), (32, 32), "test")
    listing = list_photos(LocalFolder(settings.input_root / "test", "test"))
    job = f"job{version}"
    create_run(settings.runs_dir, job, render_manifest(job, request, listing, now(), 8))
    return job


def test_models_are_listed_with_figures_and_trouble(settings: KennelSettings) -> None:
    write_versions(settings.models_dir, 1, 2, 3)
    serve(settings.models_dir, 2, stable=2)
    (settings.models_dir / "pets" / "1" / CARD_FILE).write_text("{")

    result = run("models", "pets")

    rows = [line.split() for line in result.stdout.splitlines()]
    assert rows[1][:5] == ["pets", "3", "rolled", "back", "-"]
    assert rows[2][:6] == ["pets", "2", "answers", "stable", "0.9000", "0.2500"]
    assert rows[3][:3] == ["pets", "1", "broken"]
    assert "pets version 1: the model's card cannot be read" in result.stderr


def test_models_as_json_are_cards_with_states(settings: KennelSettings) -> None:
    write_versions(settings.models_dir, 1)
    serve(settings.models_dir, stable=1)

    found = json.loads(run("models", "--json").stdout)

    assert found[0]["labels"] == ["cat", "dog"]
    assert found[0]["version_labels"] == ["stable"]
    assert found[0]["state"] == "answers"


def test_rollback_names_jobs_that_will_fail(settings: KennelSettings) -> None:
    write_versions(settings.models_dir, 1, 2)
    job = queue_job(settings, 2)
    queue_job(settings, 1)

    result = run("rollback", "pets", "1")

    assert result.stdout.startswith("pets version 1 answers")
    assert result.stderr.count("kennel: job") == 1
    assert f"job {job} (queued) is pinned to version 2" in result.stderr


def test_rollback_tells_of_a_label_that_could_not_move(
    settings: KennelSettings,
) -> None:
    write_versions(settings.models_dir, 1, 2, 3)
    serve(settings.models_dir, canary=3)

    result = run("rollback", "pets", "1")

    assert "kennel label pets canary=1" in result.stderr


@pytest.mark.parametrize("text", ["canary", "=3", "canary=0", "ca nary=1", "a=x"])
def test_label_that_cannot_be_is_refused(settings: KennelSettings, text: str) -> None:
    write_versions(settings.models_dir, 1)

    with pytest.raises(Exception, match="is not LABEL=VERSION"):
        run("label", "pets", text)


def test_versions_that_the_model_server_has_not_loaded_are_named(
    settings: KennelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_versions(settings.models_dir, 1, 2, 3, 4)
    serve(settings.models_dir, 4, 3, 2)
    with ServedModel((2,)) as served:
        served.loading, served.broken = (4,), {3: "cut off", 1: "not to be loaded"}
        monkeypatch.setenv("MODEL_SERVER", served.target)
        shown = run("models").stderr

    said = "pets: the model server says:"
    assert f"{said} version 4 is LOADING (kennel doctor)" in shown
    assert f"{said} version 3 cannot be loaded: cut off (kennel doctor)" in shown
    assert "version 2" not in shown
    assert "version 1" not in shown


def test_models_are_listed_without_a_model_server(
    settings: KennelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_versions(settings.models_dir, 1)
    monkeypatch.setenv("MODEL_SERVER", f"127.0.0.1:{free_port()}")

    assert "the model server says" not in run("models").stderr


def test_labels_are_set_and_shown(settings: KennelSettings) -> None:
    write_versions(settings.models_dir, 1, 2)

    run("label", "pets", "canary=2", "stable=1")
    run("label", "pets", "canary=")

    assert run("label", "pets").stdout.endswith("labels: stable=1\n")


def test_versions_of_unfinished_jobs_are_not_pruned(settings: KennelSettings) -> None:
    write_versions(settings.models_dir, 1, 2, 3, 4, 5)
    serve(settings.models_dir, 5)
    queue_job(settings, 2)

    dry = run("prune", "pets", "--keep", "1", "--dry-run").stdout
    wet = run("prune", "pets", "--keep", "1").stdout

    assert "would remove pets version 4" in dry
    assert "kept pets version 2: needed by job job2" in wet
    assert published_versions(settings.models_dir / "pets") == [5, 2]


def test_local_configuration_follows_and_survives_a_broken_one(
    settings: KennelSettings,
) -> None:
    write_versions(settings.models_dir, 1, 2)
    said: list[str] = []
    local = LocalModelConfig(
        settings.models_dir, settings.home / "local.config", said.append
    )
    local.write()
    said.clear()
    run("rollback", "pets", "1")

    local.follow()
    assert said.pop(0).endswith("| serves pets version 1")
    assert said.pop(0).endswith("| pets answers requests that name no model")
    (settings.models_dir / "models.config").write_text("nonsense")
    local.follow()
    local.follow()

    entry = read_model_config(local.path)[0]
    assert entry.base_path == settings.models_dir / "pets"
    assert entry.specific_versions == (1,)
    assert len(said) == 1


def test_local_stack_keeps_its_default_model_when_the_configuration_is_lost(
    settings: KennelSettings,
) -> None:
    for name in ("solar", "ants"):
        write_versions(settings.models_dir, 1, 2, name=name)
    said: list[str] = []
    copy = settings.home / "local.config"
    run("default", "solar")
    run("rollback", "ants", "1")
    LocalModelConfig(settings.models_dir, copy, said.append).write()
    (settings.models_dir / "models.config").unlink()

    LocalModelConfig(settings.models_dir, copy, said.append).write()

    assert "models.config was lost: written anew" in said[-1]
    served = read_model_config(settings.models_dir / "models.config")
    assert [(each.name, each.specific_versions) for each in served] == [
        ("solar", ()),
        ("ants", (1,)),
    ]


def test_folders_that_come_later_do_not_answer_by_default(
    settings: KennelSettings,
) -> None:
    local = LocalModelConfig(settings.models_dir, settings.home / "local.config", print)
    settings.models_dir.mkdir()
    local.write()
    for name in ("solar", "pets", "ants"):
        write_versions(settings.models_dir, 1, name=name)
        local.follow()

    names = [each.name for each in read_model_config(local.path)]
    assert names[0] == "solar"
    assert json.loads(run("models", "solar", "--json").stdout)[0]["is_default"]


def test_default_model_is_shown_and_changed(settings: KennelSettings) -> None:
    write_versions(settings.models_dir, 1, 2, name="solar")
    serve(settings.models_dir, name="solar", stable=1)
    write_versions(settings.models_dir, 1)

    before, after = run("default").stdout, run("default", "pets").stdout

    assert before == (
        "solar answers requests that name no model; kennel default NAME changes that\n"
        "served: solar version 2 (stable=1), pets version 1\n"
    )
    assert after.startswith("pets answers requests that name no model")
    assert run("models").stdout.splitlines()[1].endswith("yes")
    with pytest.raises(NotFoundError, match="there are pets, solar"):
        run("default", "cows")


def test_export_says_that_the_default_model_is_as_before(
    settings: KennelSettings,
) -> None:
    for name in ("pets", "solar"):
        write_versions(settings.models_dir, 1, name=name)
    run("default", "solar")

    default = find_default({}, settings.models_dir)

    assert default.sentence(exported="pets") == (
        "solar still answers requests that name no model; "
        "kennel default pets changes that"
    )
    assert default.sentence(exported="solar").startswith("solar answers ")


@pytest.mark.parametrize("variable", ["DEFAULT_MODEL", "MODEL_NAMES"])
def test_variable_that_decides_over_the_default_model_is_named(
    settings: KennelSettings, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name in ("pets", "solar"):
        write_versions(settings.models_dir, 1, name=name)
    monkeypatch.setenv(variable, "solar")

    result = run("default", "pets")

    assert f"solar answers {ANY}, because {variable} says so" in result.stdout
    assert f"{variable} decides: set it to pets, or unset it" in result.stderr
    monkeypatch.setenv(variable, "cows")
    assert "names no published model (there are: pets, solar)" in run("default").stdout


def test_model_becomes_the_default_once_it_is_loaded(
    settings: KennelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pets", "solar"):
        write_versions(settings.models_dir, 1, name=name)
    coming = says({"versions": []}), says({"versions": [{"state": "LOADING"}]})
    with scripted(*coming, says({"versions": [{"state": "AVAILABLE"}]})) as api:
        monkeypatch.setenv("KENNEL_URL", api.url)
        result = run("default", "solar")

    assert result.stderr == "kennel: waiting until solar is loaded\n"
    assert result.stdout.startswith("solar answers")
    with scripted(coming[1]) as api:
        monkeypatch.setenv("KENNEL_URL", api.url)
        with pytest.raises(ConflictError, match=r"not loaded after 0 s \(LOADING"):
            run("default", "pets", "--wait", "0")
    assert next(iter(read_served(settings.models_dir))) == "solar"


def test_model_that_lies_elsewhere_can_be_the_default_model(
    settings: KennelSettings,
) -> None:
    write_versions(settings.models_dir, 1)
    write_versions(settings.home / "elsewhere", 1, 4, name="cows")
    ours = read_served(settings.models_dir).values()
    theirs = ModelEntry("cows", settings.home / "elsewhere/cows")
    config = settings.models_dir / "models.config"
    config.write_text(render_entries([*ours, theirs]))

    run("default", "cows")

    assert run("default").stdout.endswith("served: cows version 4, pets version 1\n")


def test_no_model_is_no_default_model(settings: KennelSettings) -> None:
    assert run("default").stdout.startswith("no model is published yet")


def test_other_labels_of_the_version_that_answers_are_told(
    settings: KennelSettings,
) -> None:
    write_versions(settings.models_dir, 1, 2)
    path = settings.models_dir / "pets/1" / CARD_FILE
    card = ModelCard.from_json(path.read_text())
    path.write_text(replace(card, labels=("dog", "cat")).to_json())

    told = run("rollback", "pets", "1").stderr

    assert "the probability of cat, before that of dog" in told
    assert run("rollback", "pets", "1").stderr == ""


def test_removed_model_is_gone_and_the_others_stay(settings: KennelSettings) -> None:
    for name in ("solar", "pets", "ants"):
        write_versions(settings.models_dir, 1, 2, name=name)
    run("default", "solar")

    result = run("remove", "pets", "--yes")

    assert f"only the jobs in {settings.runs_dir} were looked at" in result.stderr
    assert "removed pets (versions 2, 1; " in result.stdout
    assert "solar answers requests that name no model" in result.stdout
    assert list(read_served(settings.models_dir)) == ["solar", "ants"]
    assert not list(settings.models_dir.glob("*pets*"))


def test_model_that_is_needed_is_not_removed(settings: KennelSettings) -> None:
    write_versions(settings.models_dir, 1, 2)
    job = queue_job(settings, 1)

    with pytest.raises(ConflictError, match=rf"{job} \(queued, version 1\); wait"):
        run("remove", "pets", "--yes")
    with pytest.raises(NotFoundError, match="there are pets"):
        run("remove", "cows", "--yes")
    assert published_versions(settings.models_dir / "pets") == [2, 1]


def test_model_that_a_job_of_the_api_needs_is_not_removed(
    settings: KennelSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_versions(settings.models_dir, 1)
    job = {**JOB, "id": "j7", "state": "running"}
    with scripted(says({"jobs": []}), says({"jobs": [job]})) as api:
        monkeypatch.setenv("KENNEL_URL", api.url)
        with pytest.raises(ConflictError, match=r"j7 \(running, version 1\)"):
            run("remove", "pets", "--yes")

    assert read_served(settings.models_dir)


@pytest.mark.parametrize("variable", [None, "DEFAULT_MODEL"])
def test_default_model_is_not_removed_before_another_is_chosen(
    settings: KennelSettings, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    for name in ("pets", "solar"):
        write_versions(settings.models_dir, 1, name=name)
    if variable is not None:
        monkeypatch.setenv(variable, "solar")
    name, remedy = (
        ("solar", "set DEFAULT_M") if variable else ("pets", "kennel default")
    )

    with pytest.raises(ConflictError, match=f"{name} answers .*: {remedy}"):
        run("remove", name, "--yes")


def test_model_is_not_removed_without_a_yes(settings: KennelSettings) -> None:
    write_versions(settings.models_dir, 1)

    result = CliRunner().invoke(versions.remove, ["pets"], input="n\n")

    assert "Remove pets (versions 1; " in result.stdout
    assert result.exit_code == 1
    assert read_served(settings.models_dir)


@pytest.fixture
def target(settings: KennelSettings) -> Iterator[str]:
    """An embedded server that follows the local configuration of three versions."""
    for version in (1, 2, 3):
        publish_tiny_model(settings.models_dir, version)
    local = LocalModelConfig(settings.models_dir, settings.home / "local.config", print)
    local.write()
    target = f"127.0.0.1:{free_port()}"
    arguments = (
        *("kennel.cli", "model-server", f"--port={target.split(':')[1]}"),
        f"--model_config_file={local.path}",
        "--model_config_file_poll_wait_seconds=0.1",
        "--file_system_poll_wait_seconds=0.1",
        "--allow_version_labels_for_unavailable_models=true",
        "--strict",
    )
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(0.05):
            local.follow()

    with ExitStack() as stack:
        log = settings.home / "server.log"
        stack.enter_context(running(*arguments, env=os.environ, log=log))
        following = threading.Thread(target=follow)
        following.start()
        stack.callback(following.join)
        stack.callback(stop.set)
        yield target


def answering(client: ModelServerClient, model: ModelRef = PETS) -> int:
    return client.predict(np.full((1, 32, 32, 3), 90, np.uint8), model).version


@pytest.mark.tensorflow
def test_rollback_and_labels_are_followed_without_a_failed_request(
    settings: KennelSettings, target: str
) -> None:
    failures: list[Exception] = []
    done = threading.Event()

    def keep_asking(ask: Callable[[], object]) -> None:
        while not done.is_set():
            try:
                ask()
            except Exception as error:
                failures.append(error)

    with ExitStack() as stack:
        client = stack.enter_context(ModelServerClient(target))
        stable = ModelRef("pets", label="stable")
        wait_until(lambda: is_answering(client, PETS, 3), "version 3", 60)
        run("label", "pets", "stable=3")
        wait_until(lambda: is_answering(client, stable, 3), "the label")
        for ask in (lambda: answering(client), lambda: answering(client, stable)):
            asking = threading.Thread(target=keep_asking, args=(ask,))
            asking.start()
            stack.callback(asking.join)
        stack.callback(done.set)
        run("rollback", "pets", "2")
        wait_until(lambda: answering(client) == 2, "the rollback")
        publish_tiny_model(settings.models_dir, 4)
        run("rollback", "pets", "4")
        wait_until(lambda: answering(client) == 4, "the way forward")

        assert answering(client, stable) == 2
    assert failures == []


def is_answering(client: ModelServerClient, model: ModelRef, version: int) -> bool:
    try:
        return answering(client, model) == version
    except Exception:
        return False


@pytest.mark.tensorflow
def test_clients_of_the_api_ask_by_label(settings: KennelSettings, target: str) -> None:
    run("label", "pets", "stable=2")
    with ModelServerClient(target) as model:
        wait_until(
            lambda: is_answering(model, ModelRef("pets", label="stable"), 2), "2", 60
        )
        service = ServiceSettings.from_env({"MODEL_NAMES": "pets"})
        queue = JobQueue("redis://", settings.runs_dir, settings.input_root)
        client = create_app(service, model, queue).test_client()

        def ask(query: str) -> tuple[int, dict[str, object]]:
            response = client.post(
                f"/v1/predict?{query}", data=grey(90), content_type="image/png"
            )
            return response.status_code, response.get_json()

        assert ask("label=stable")[1]["version"] == 2
        assert ask("")[1]["version"] == 3
        assert ask("label=nightly")[0] == 404
        assert ask("label=nightly")[1]["code"] == "label_not_found"


def test_errors_are_of_the_kind_that_the_command_line_prints(
    settings: KennelSettings,
) -> None:
    write_versions(settings.models_dir, 1, 2, 3)

    with pytest.raises(NotFoundError, match="there are 3, 2, 1"):
        run("rollback", "pets", "9")
    with pytest.raises(ConflictError, match="served: 3, 2"):
        run("label", "pets", "old=1")
