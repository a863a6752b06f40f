"""A run in eight bits: the head learns from integer features, and they are served."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from models.contract import EXPLAIN_SIGNATURE, INT8, SERVING_SIGNATURE, ModelCard
from models.errors import DatasetError, InvalidRequestError
from models.networks.network import Head
from models.networks.runtime import start_tensorflow
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef
from tests.export.training.test_exact import small_second_order
from tests.models.conftest import start_embedded, wait_for_version
from tests.training import small_plan, train_plan

if TYPE_CHECKING:
    from export.training.runs import TrainedRun

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("int8")


@pytest.fixture(scope="module")
def run(home: Path) -> TrainedRun:
    return train_plan(replace(small_plan(home, run="eight"), precision=INT8))


@pytest.fixture(scope="module")
def published(run: TrainedRun, home: Path) -> ModelCard:
    from export.publication.publish import publish

    return publish(run, home / "models")


def load_signatures(models_dir: Path, card: ModelCard) -> Any:
    start_tensorflow()
    import tensorflow as tf

    folder = models_dir / card.name / str(card.version)
    return tf.saved_model.load(str(folder)).signatures


@pytest.fixture(scope="module")
def signatures(published: ModelCard, home: Path) -> Any:
    return load_signatures(home / "models", published)


def pixels(count: int = 32) -> Any:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)


def test_card_names_the_precision(published: ModelCard) -> None:
    assert published.precision == INT8


def skew_of_validation(run: TrainedRun, signatures: Any) -> float:
    """How far the published version is from the answers that the run was judged by."""
    from export.data.sources.reading import read_photo
    from models.images.codec import decode_image
    from models.probabilities import softmax

    split = run.split
    files = [Path(split.folder) / photo.file for photo in split.valid]
    photos = np.stack([decode_image(read_photo(file), (32, 32)) for file in files])
    answers = signatures[SERVING_SIGNATURE](images=photos)["probabilities"]
    expected = softmax(run.validation()[0], run.calibration.temperature)
    return float(np.abs(answers.numpy() - expected).max())


def test_published_version_answers_as_the_run_was_validated(
    run: TrainedRun, signatures: Any
) -> None:
    assert skew_of_validation(run, signatures) < 1e-5


def test_two_views_of_a_second_order_head_are_served(home: Path) -> None:
    from export.publication.publish import publish

    recipe = replace(small_second_order(), views=("none", "horizontal"))
    plan = small_plan(home, name="products", run="products")
    run = train_plan(replace(plan, recipe=recipe, precision=INT8))
    card = publish(run, home / "models")

    loaded = load_signatures(home / "models", card)
    assert card.explains
    assert skew_of_validation(run, loaded) < 1e-5


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_bits_of_an_answer_do_not_depend_on_the_batch(
    signatures: Any, batch: int
) -> None:
    predict = signatures[SERVING_SIGNATURE]
    photos = pixels()
    parts = [
        predict(images=photos[at : at + batch])["logits"].numpy()
        for at in range(0, len(photos), batch)
    ]

    whole = predict(images=photos)["logits"].numpy()
    assert np.array_equal(np.concatenate(parts), whole)


def test_explanation_has_heat(signatures: Any) -> None:
    answer = signatures[EXPLAIN_SIGNATURE](
        images=pixels(2), classes=np.array([0, 1], np.int32)
    )

    assert answer["heatmaps"].numpy().max() == 1


def test_weights_are_stored_once(
    run: TrainedRun, published: ModelCard, home: Path
) -> None:
    from export.training.members import read_integers

    folder = home / "models" / published.name / str(published.version)
    kernel = read_integers(run.folder).convolutions[-1].kernel

    assert (folder / "saved_model.pb").read_bytes().count(kernel.tobytes()) == 1


def test_server_answers_with_the_same_bits(
    published: ModelCard, home: Path, signatures: Any
) -> None:
    with ExitStack() as stack:
        server = start_embedded(stack, home / "models", published.name)
        wait_for_version(server.target, published.name, published.version)
        client = stack.enter_context(ModelServerClient(server.target))
        answer = client.predict(pixels(), ModelRef(published.name))
        alone = client.predict(pixels()[:1], ModelRef(published.name))

    expected = signatures[SERVING_SIGNATURE](images=pixels())["probabilities"].numpy()
    assert np.array_equal(answer.probabilities, expected)
    assert np.array_equal(alone.probabilities, expected[:1])


def test_features_are_computed_once_in_each_precision(tmp_path: Path) -> None:
    files = []
    for run, precision in (("one", "float32"), ("two", INT8), ("three", INT8)):
        train_plan(replace(small_plan(tmp_path, run=run), precision=precision))
        files.append(len(list((tmp_path / "cache" / "features").iterdir())))

    # One of the training photos, one of the validation photos.
    assert files == [2, 4, 4]


def test_recipe_that_trains_convolutions_is_refused(home: Path) -> None:
    from export.training.assembly import check_recipe

    recipe = small_plan(home).recipe
    stages = (*recipe.stages, replace(recipe.stages[0], trains="conv:block1_conv2"))

    message = "small trains the convolutions 'block1_conv2'.*--recipe pooled"
    with pytest.raises(InvalidRequestError, match=message):
        check_recipe(replace(recipe, stages=stages), classes=2, precision=INT8)


def test_network_that_is_no_chain_is_refused() -> None:
    from export.recipes.catalogue import find_recipe
    from export.training.assembly import check_recipe

    with pytest.raises(InvalidRequestError, match="cannot be computed in eight bits"):
        check_recipe(find_recipe("backbone"), classes=2, precision=INT8)


def test_run_in_another_precision_is_not_exported_in_eight_bits(home: Path) -> None:
    from export.publication.publish import publish

    plan = small_plan(home, name="floats", run="floats")
    run = train_plan(plan)

    with pytest.raises(InvalidRequestError, match="train with --precision int8"):
        publish(run, home / "models", INT8)


def test_missing_integers_are_named(run: TrainedRun, tmp_path: Path) -> None:
    from export.training.members import read_integers

    with pytest.raises(DatasetError, match="is gone: train again"):
        read_integers(tmp_path)


def test_run_is_exported_in_float32_on_request(run: TrainedRun, home: Path) -> None:
    from export.publication.publish import publish

    assert publish(run, home / "floats", "float32").precision == "float32"


def test_wide_head_answers_a_lone_photo_with_the_same_bits() -> None:
    # A product with one row is computed otherwise than one with several.
    start_tensorflow()
    import keras

    from export.training.classifier import Ensemble, classify
    from models.networks.freezing import cut, trained_layers
    from models.networks.heads import assemble
    from models.networks.integer_graph import in_eight_bits
    from models.networks.quantization import quantize
    from models.networks.registry import find_network

    keras.utils.set_random_seed(0)
    taps = ("block1_pool", "block2_pool", "block3_pool")
    head = Head("pooled", taps=taps, hidden=(128,))
    network = assemble(find_network("vgg16"), head, 2, (32, 32))
    parts = cut(network.model, trained_layers(network, "head"))
    quantized = in_eight_bits(parts.frozen, quantize(parts.frozen, pixels(16)))
    classifier = Ensemble((replace(parts, quantized=quantized),)).join()

    whole = classify(classifier, pixels())
    alone = [classify(classifier, pixels()[at : at + 1]) for at in range(32)]
    assert np.array_equal(np.concatenate(alone), whole)
