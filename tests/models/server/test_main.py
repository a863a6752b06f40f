"""The embedded server as a process: lenient, and strict as TensorFlow Serving."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from kennel.commands.serve import model_server
from kennel.serving_config.files import (
    ModelOptions,
    ServingOptions,
    flags_in,
    model_files,
    serving_files,
    write_files,
)
from models.contract import IMAGES_INPUT, PROBABILITIES_OUTPUT, WARMUP_FILE
from models.errors import InvalidRequestError
from models.networks.runtime import start_tensorflow
from models.wire import protos
from models.wire.client import ModelServerClient
from models.wire.config import PER_MODEL_FILE, ModelEntry, render_entries
from models.wire.messages import ModelRef, from_tensor, to_tensor
from tests.models.conftest import RunningServer, start_embedded, wait_for_version
from tests.models.test_conformance import code_of, predict
from tests.processes import free_port, is_listening, wait_until
from tests.tiny_model import build_one_size_classifier, publish_tiny_model

pytestmark = pytest.mark.tensorflow

PETS = ModelRef("pets")


def pixels(count: int = 1) -> Any:
    return np.full((count, 32, 32, 3), 90, np.uint8)


def only_embedded(server: RunningServer) -> None:
    if server.models_dir is None:
        pytest.skip("MODEL_SERVER names a server that is not ours to try this on")


@pytest.mark.parametrize(
    "batch", [pixels()[0], pixels()[None], pixels(33)], ids=["rank3", "rank5", "33"]
)
def test_batch_that_a_real_server_would_refuse_or_die_of(
    embedded_server: RunningServer, batch: Any
) -> None:
    only_embedded(embedded_server)
    request = protos.PredictRequest()
    request.model_spec.name = "pets"
    request.inputs[IMAGES_INPUT].CopyFrom(to_tensor(batch))

    with grpc.insecure_channel(embedded_server.target) as channel:
        code = code_of(lambda: predict(channel, request))

    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_other_calls_are_unimplemented(embedded_server: RunningServer) -> None:
    only_embedded(embedded_server)
    with grpc.insecure_channel(embedded_server.target) as channel:
        stub = protos.prediction_service.PredictionServiceStub(channel)
        from tensorflow_serving.apis.classification_pb2 import ClassificationRequest

        code = code_of(lambda: stub.Classify(ClassificationRequest(), timeout=10))

    assert code is grpc.StatusCode.UNIMPLEMENTED


def test_versions_are_swapped_without_a_failed_request(tmp_path: Path) -> None:
    publish_tiny_model(tmp_path, 1)
    answered: list[int] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def keep_asking(target: str) -> None:
        with ModelServerClient(target) as client:
            while not stop.is_set():
                try:
                    answered.append(client.predict(pixels(), PETS).version)
                except Exception as error:
                    failures.append(error)

    with ExitStack() as stack:
        server = start_embedded(stack, tmp_path, "pets")
        wait_for_version(server.target, "pets", 1)
        asking = threading.Thread(target=keep_asking, args=(server.target,))
        asking.start()
        stack.callback(asking.join)
        stack.callback(stop.set)
        publish_tiny_model(tmp_path, 2)
        wait_until(lambda: answered and answered[-1] == 2, "an answer by version 2")
        publish_tiny_model(tmp_path, 3)
        wait_until(lambda: answered[-1] == 3, "an answer by version 3")
        client = stack.enter_context(ModelServerClient(server.target))

        def states() -> dict[int, str]:
            return {each.version: each.state for each in client.versions("pets")}

        wait_until(lambda: states()[1] == "END", "the end of version 1")
        pinned = client.predict(pixels(), ModelRef("pets", 2))

    assert not failures
    assert sorted(answered) == answered
    assert pinned.version == 2


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServerClient]:
    """A server of version 1; the others have a broken file, no graph, or a broken one."""
    models_dir = tmp_path_factory.mktemp("broken")
    pets = models_dir / "pets"
    for version in (1, 2):
        publish_tiny_model(models_dir, version)
    (pets / "2" / PER_MODEL_FILE).write_text("max_batch_size: 32")
    (pets / "3").mkdir()
    (pets / "4").mkdir()
    (pets / "4" / "saved_model.pb").write_bytes(b"not a model")
    (models_dir / "models.config").write_text(
        render_entries([ModelEntry("pets", pets, versions_kept=3)])
    )
    with ExitStack() as stack:
        flags = (
            f"--model_config_file={models_dir / 'models.config'}",
            "--enable_per_model_batching_parameters=true",
        )
        server = start_embedded(stack, models_dir, "pets", *flags)
        wait_for_version(server.target, "pets", 1)
        yield stack.enter_context(ModelServerClient(server.target))


def test_broken_version_leaves_the_old_one_serving(broken: ModelServerClient) -> None:
    wait_until(lambda: failed(broken, 4), "a failed load of version 4")

    assert broken.predict(pixels(), PETS).version == 1
    assert 3 not in {each.version for each in broken.versions("pets")}


def test_version_with_a_broken_file_of_its_own_is_not_loaded(
    broken: ModelServerClient,
) -> None:
    wait_until(lambda: failed(broken, 2), "a failed load of version 2")

    assert "max_batch_size" in failed(broken, 2)


def failed(client: ModelServerClient, version: int) -> str:
    """Why *version* could not be loaded; empty while it was not tried."""
    return next(
        (each.error for each in client.versions("pets") if each.version == version), ""
    )


@pytest.fixture(scope="module")
def configured(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ModelServerClient, dict[int, str]]]:
    """A strict server with the files that the command writes; the first states it tells."""
    models_dir = tmp_path_factory.mktemp("configured")
    files = models_dir / "files"
    publish_tiny_model(models_dir, 1)
    publish_tiny_model(models_dir, 2)
    options = ServingOptions("cpu", max_batch=8)
    write_files(serving_files(options, per_model=True), files)
    own = model_files(models_dir, options, [ModelOptions("pets", max_batch=4)])
    write_files(own, models_dir)
    flags = [
        f"--batching_parameters_file={files / 'batching.config'}",
        "--enable_per_model_batching_parameters=true",
        "--grpc_channel_arguments=grpc.max_connection_age_ms=20000",
        "--tensorflow_intra_op_parallelism=1",
        "--num_load_threads=1",
        "--strict",
    ]
    with ExitStack() as stack:
        server = start_embedded(stack, models_dir, "pets", *flags)
        port = int(server.target.split(":")[1])
        wait_until(lambda: is_listening(port), "an open port", 60)
        client = stack.enter_context(ModelServerClient(server.target))
        yield client, {each.version: each.state for each in client.versions("pets")}


def test_port_opens_when_the_newest_version_below_the_base_path_is_loaded(
    configured: tuple[ModelServerClient, dict[int, str]],
) -> None:
    assert configured[1] == {2: "AVAILABLE"}


def test_server_starts_with_the_files_that_the_command_writes(
    configured: tuple[ModelServerClient, dict[int, str]],
) -> None:
    client, _ = configured
    lone = client.predict(pixels(1), PETS)
    split = client.predict(pixels(17), PETS)

    assert split.probabilities.shape == (17, 2)
    assert (split.probabilities == lone.probabilities).all()


def test_channel_arguments_are_read_as_tensorflow_serving_reads_them() -> None:
    start_tensorflow()
    from models.server.main import ServerOptions

    text = "grpc.max_connection_age_ms=20000,grpc.primary_user_agent=a=b"
    given = ServerOptions(grpc_channel_arguments=text)

    assert ServerOptions().channel_arguments == []
    assert given.channel_arguments == [
        ("grpc.max_connection_age_ms", 20000),
        ("grpc.primary_user_agent", "a=b"),
    ]
    with pytest.raises(InvalidRequestError, match="name=value"):
        _ = ServerOptions(grpc_channel_arguments="grpc.so_reuseport").channel_arguments


def test_server_does_not_start_with_batching_that_tensorflow_serving_refuses(
    tmp_path: Path,
) -> None:
    start_tensorflow()
    from models.server.main import ServerOptions, make_versions

    file = tmp_path / "batching.config"
    file.write_text("max_batch_size { value: 32 } allowed_batch_sizes: 8")
    for batches, complaint in ((True, "append 32"), (False, "--enable_batching=true")):
        options = ServerOptions(
            model_base_path=tmp_path,
            enable_batching=batches,
            batching_parameters_file=file,
        )

        with pytest.raises(InvalidRequestError, match=complaint):
            make_versions(options, threading.Event())


def test_server_does_not_start_with_labels_that_tensorflow_serving_refuses(
    tmp_path: Path,
) -> None:
    start_tensorflow()
    from models.server.main import ServerOptions, make_versions

    file = tmp_path / "models.config"
    entry = ModelEntry("pets", tmp_path / "pets", labels=(("stable", 1),))
    file.write_text(render_entries([entry]))
    options = ServerOptions(model_config_file=file)
    allowing = replace(options, allow_version_labels_for_unavailable_models=True)

    with pytest.raises(InvalidRequestError, match="labels_for_unavailable_models=true"):
        make_versions(options, threading.Event())
    assert make_versions(allowing, threading.Event())


MINUTE = 60_000_000
PAIRS = f"max_batch_size {{ value: 2 }} batch_timeout_micros {{ value: {MINUTE} }}"
"""Batches of two images; a lone one waits for another."""


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    publish_tiny_model(folder, 1)
    # Each lone image of these requests would wait a minute for another one.
    (folder / "pets" / "1" / WARMUP_FILE).unlink()
    return folder


@contextmanager
def serving(models_dir: Path, batching: str, *, strict: bool = True) -> Iterator[Any]:
    """The stub of a server of the models in *models_dir*, batched as *batching* says."""
    start_tensorflow()
    from models.server.main import ServerOptions, make_versions, start_server

    file = models_dir / "batching.config"
    file.write_text(batching)
    options = ServerOptions(
        free_port(),
        model_name="pets",
        model_base_path=models_dir / "pets",
        enable_batching=True,
        batching_parameters_file=file,
        strict=strict,
    )
    versions = make_versions(options, threading.Event())
    versions.poll()
    server = start_server(versions, options)
    with grpc.insecure_channel(f"127.0.0.1:{options.port}") as channel:
        yield protos.prediction_service.PredictionServiceStub(channel)
    server.stop(0).wait()


def ask(stub: Any, *shape: int, timeout: float = 30) -> Any:
    """The probabilities of black images, or the error."""
    request = protos.PredictRequest()
    request.model_spec.name = "pets"
    request.inputs[IMAGES_INPUT].CopyFrom(to_tensor(np.zeros(shape, np.uint8)))
    try:
        answer = stub.Predict(request, timeout=timeout)
    except grpc.RpcError as error:
        return error
    return from_tensor(answer.outputs[PROBABILITIES_OUTPUT])


def test_images_of_different_sizes_in_one_batch_fail_all_its_requests(
    models_dir: Path,
) -> None:
    with serving(models_dir, PAIRS) as stub, ThreadPoolExecutor(2) as pool:
        right = pool.submit(ask, stub, 1, 32, 32, 3)
        stale = pool.submit(ask, stub, 1, 64, 64, 3)
        errors = [right.result(), stale.result()]
        later = ask(stub, 2, 32, 32, 3)

    assert {each.code().name for each in errors} == {"FAILED_PRECONDITION"}
    assert all(
        "from different tasks have different shapes" in e.details() for e in errors
    )
    assert later.shape == (2, 2)


def test_wrong_size_is_answered_if_the_network_takes_it(models_dir: Path) -> None:
    with serving(models_dir, PAIRS) as stub:
        assert ask(stub, 2, 16, 48, 3).shape == (2, 2)
    with serving(models_dir, PAIRS, strict=False) as stub:
        assert ask(stub, 2, 16, 48, 3).code().name == "ABORTED"


def test_wrong_size_is_refused_in_one_line_if_the_network_does_not_take_it(
    tmp_path: Path,
) -> None:
    publish_tiny_model(tmp_path, 1, build=build_one_size_classifier)
    with serving(tmp_path, "max_batch_size { value: 32 }") as stub:
        error = ask(stub, 2, 64, 64, 3)

    assert error.code().name == "INVALID_ARGUMENT"
    assert error.details().startswith("Input to reshape is a tensor with 24576 values")
    assert "\n" not in error.details()


def test_full_queue_is_told_in_the_words_of_tensorflow_serving(
    models_dir: Path,
) -> None:
    text = f"{PAIRS} max_enqueued_batches {{ value: 1 }}"
    with serving(models_dir, text) as stub, ThreadPoolExecutor(1) as pool:

        def wait_for_another() -> Any:
            # Refused as well if it meets the two images on their way through the queue.
            while isinstance(answer := ask(stub, 1, 32, 32, 3), grpc.RpcError):
                pass
            return answer

        waiting = pool.submit(wait_for_another)
        refused: list[Any] = []

        def is_refused() -> bool:
            refused.append(ask(stub, 2, 32, 32, 3))
            return isinstance(refused[-1], grpc.RpcError)

        wait_until(is_refused, "a full queue")
        ask(stub, 1, 32, 32, 3)

        assert waiting.result().shape == (1, 2)
    error = refused[-1]
    assert error.code().name == "UNAVAILABLE"
    assert "The batch scheduling queue to which this task was submitted is full" in (
        error.details()
    )


def test_request_of_no_image_has_no_answer_before_its_deadline(
    models_dir: Path,
) -> None:
    with serving(models_dir, PAIRS) as stub:
        assert ask(stub, 0, 32, 32, 3, timeout=0.2).code().name == "DEADLINE_EXCEEDED"
        assert ask(stub, 2, 32, 32, 3).shape == (2, 2)
    with serving(models_dir, PAIRS, strict=False) as stub:
        assert len(ask(stub, 0, 32, 32, 3)) == 0


class Loading:
    """A strict manager of the versions of one model, whose loads can be watched."""

    def __init__(self, base_path: Path, retries: int, interval_seconds: float) -> None:
        start_tensorflow()
        from models.server.servable import STRICT, Batching
        from models.server.versions import LoadRetries, VersionManager

        self.entry = ModelEntry("pets", base_path, versions_kept=2)
        self.stopping = threading.Event()
        self.manager: VersionManager = VersionManager(
            lambda: [self.entry],
            Batching(),
            LoadRetries(retries, interval_seconds),
            STRICT,
            self.stopping,
        )

    def states(self) -> dict[int, tuple[str, str]]:
        from models.server.servable import ServingError

        try:
            found = self.manager.states("pets", None)
        except ServingError:
            return {}
        return {number: (each.state, each.error) for number, each in found.items()}

    @contextmanager
    def during(self, load: Callable[[], None]) -> Iterator[threading.Thread]:
        """While *load* runs; at the end it is told to stop."""
        thread = threading.Thread(target=load)
        thread.start()
        yield thread
        self.stopping.set()
        thread.join()


@pytest.fixture
def base_path(models_dir: Path, tmp_path: Path) -> Path:
    """A model with version 1."""
    base = tmp_path / "pets"
    base.mkdir()
    publish(models_dir, base, 1)
    return base


def publish(models_dir: Path, base: Path, version: int) -> None:
    (base / str(version)).symlink_to(models_dir / "pets" / "1")


def publish_broken(base: Path, version: int) -> None:
    (base / str(version)).mkdir()


def test_server_does_not_start_before_the_retries_of_a_broken_version_are_over(
    base_path: Path,
) -> None:
    publish_broken(base_path, 2)
    loading = Loading(base_path, retries=5, interval_seconds=60)

    with loading.during(lambda: loading.manager.load_all(0.05)) as starting:
        wait_until(lambda: loading.states().get(1) == ("AVAILABLE", ""), "version 1")

        assert loading.states()[2] == ("LOADING", "")
        assert starting.is_alive()


def test_server_gives_up_if_a_version_fails_before_another_one_is_there(
    base_path: Path,
) -> None:
    publish_broken(base_path, 2)
    loading = Loading(base_path, retries=0, interval_seconds=60)

    with pytest.raises(InvalidRequestError, match="pets version 2 cannot be loaded"):
        loading.manager.load_all(0.05)


def test_broken_version_keeps_a_newer_one_waiting_until_its_retries_are_over(
    models_dir: Path, base_path: Path
) -> None:
    loading = Loading(base_path, retries=5, interval_seconds=60)
    loading.manager.load_all(0.05)
    publish_broken(base_path, 2)

    with loading.during(loading.manager.poll) as polling:
        wait_until(lambda: loading.states().get(2) == ("LOADING", ""), "a failed load")
        publish(models_dir, base_path, 3)

        assert polling.is_alive()
        assert loading.manager.find("pets", None, None).version == 1

    quick = Loading(base_path, retries=2, interval_seconds=0.01)
    quick.entry = ModelEntry("pets", base_path, specific_versions=(1, 2))
    quick.manager.poll()
    state, error = quick.states()[2]
    assert (state, error != "") == ("END", True)
    quick.entry = ModelEntry("pets", base_path, versions_kept=2)
    quick.manager.poll()
    assert quick.manager.find("pets", None, None).version == 3


def test_version_that_is_no_longer_wanted_is_not_tried_again(base_path: Path) -> None:
    publish_broken(base_path, 2)
    loading = Loading(base_path, retries=1_000_000, interval_seconds=0.01)

    with loading.during(loading.manager.poll) as polling:
        wait_until(lambda: loading.states().get(2) == ("LOADING", ""), "a failed load")
        loading.entry = ModelEntry("pets", base_path, specific_versions=(1,))
        polling.join(30)

        assert not polling.is_alive()
        assert loading.manager.find("pets", None, None).version == 1


def test_relative_base_path_is_refused() -> None:
    start_tensorflow()
    from models.server.main import ServerOptions, make_versions

    options = ServerOptions(model_base_path=Path("models/pets"), strict=True)

    with pytest.raises(InvalidRequestError, match="models/pets must be absolute"):
        make_versions(options, threading.Event())


def test_requests_of_every_size_are_answered_alike_in_batches_of_eight(
    strict_server: RunningServer,
) -> None:
    generator = np.random.default_rng(2)
    pixels = generator.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
    with ModelServerClient(strict_server.target) as client:
        rows = {
            size: client.predict(pixels[:size], ModelRef("pets")).logits
            for size in (1, 2, 7, 17, 32)
        }

    for size, row in rows.items():
        assert (row == rows[32][:size]).all()


def test_retries_are_those_of_the_flags() -> None:
    start_tensorflow()
    from models.server.main import ServerOptions
    from models.server.versions import LoadRetries

    flags = flags_in(serving_files(ServingOptions())["flags"])
    given = model_server.make_context("flags", flags).params
    names = ("max_num_load_retries", "load_retry_interval_micros")

    assert ServerOptions(**{name: given[name] for name in names}).load_retries == (
        LoadRetries(6, 10.0)
    )
    assert ServerOptions().load_retries == LoadRetries(5, 60.0)
