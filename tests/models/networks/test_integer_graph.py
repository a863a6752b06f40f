"""Eight-bit convolutions: near to float32, and the same bits however they are computed."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import DatasetError
from models.networks.runtime import start_tensorflow
from tests.models.networks.feature_errors import feature_errors

pytestmark = pytest.mark.tensorflow

SIDE = 32


def photos(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Photos of smooth noise, uint8 [N, 32, 32, 3]."""
    rough = np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3))
    return rough.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)


def frozen_vgg16() -> Any:
    """The frozen part of VGG16 with random weights and taps on two blocks."""
    start_tensorflow()
    import keras

    from models.networks.freezing import cut, trained_layers
    from models.networks.heads import assemble
    from models.networks.network import Head
    from models.networks.registry import find_network

    keras.utils.set_random_seed(0)
    head = Head("pooled", taps=("block1_pool", "block2_pool"))
    network = assemble(find_network("vgg16"), head, 2, (SIDE, SIDE))
    return cut(network.model, trained_layers(network, "head")).frozen


def features(model: Any, pixels: NDArray[np.uint8], batch: int) -> NDArray[np.float32]:
    """What *model* gives for *pixels*, in batches of that size."""
    parts = [
        np.asarray(model.predict_on_batch(pixels[at : at + batch].astype(np.float32)))
        for at in range(0, len(pixels), batch)
    ]
    return np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])


@pytest.fixture(scope="module")
def frozen() -> Any:
    return frozen_vgg16()


@pytest.fixture(scope="module")
def chain(frozen: Any) -> Any:
    from models.networks.quantization import quantize

    return quantize(frozen, photos(64))


@pytest.fixture(scope="module")
def quantized(frozen: Any, chain: Any) -> Any:
    from models.networks.integer_graph import in_eight_bits

    return in_eight_bits(frozen, chain)


def test_features_are_near_to_float32(frozen: Any, quantized: Any) -> None:
    assert max(feature_errors(frozen, quantized, photos(16, seed=1))) < 0.05


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_bits_do_not_depend_on_the_batch(quantized: Any, batch: int) -> None:
    pixels = photos(32, seed=1)

    assert np.array_equal(
        features(quantized, pixels, batch), features(quantized, pixels, 32)
    )


def bits(values: NDArray[np.float32]) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()


def bits_in_another_process(
    chain: Any, folder: Path, threads: int = 2, **environment: str
) -> str:
    """The bits of the features of 32 photos, computed by a process of its own."""
    (folder / "chain.npz").write_bytes(chain.to_bytes())
    code = (
        "import sys, pathlib, tensorflow as tf;"
        "tf.config.threading.set_intra_op_parallelism_threads(int(sys.argv[2]));"
        "from tests.models.networks.test_integer_graph import *;"
        "from models.networks.integer_graph import IntegerChain, in_eight_bits;"
        "chain = IntegerChain.from_bytes(pathlib.Path(sys.argv[1]).read_bytes());"
        "quantized = in_eight_bits(frozen_vgg16(), chain);"
        "print(bits(features(quantized, photos(32, seed=1), 8)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(folder / "chain.npz"), str(threads)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return answer.stdout.strip()


@pytest.mark.parametrize(
    ("threads", "instructions"),
    [(1, "DEFAULT"), (2, "DEFAULT"), (2, "AVX2"), (2, "AVX512_CORE")],
)
def test_bits_do_not_depend_on_threads_and_processor(
    quantized: Any, chain: Any, tmp_path: Path, threads: int, instructions: str
) -> None:
    expected = bits(features(quantized, photos(32, seed=1), 32))
    found = bits_in_another_process(
        chain, tmp_path, threads, ONEDNN_MAX_CPU_ISA=instructions
    )

    assert found == expected


def test_chain_is_read_from_its_file(chain: Any) -> None:
    from models.networks.integer_graph import IntegerChain

    read = IntegerChain.from_bytes(chain.to_bytes())

    assert read.digest() == chain.digest()
    assert read.photos == 64


def test_damaged_file_is_refused(chain: Any) -> None:
    from models.networks.integer_graph import IntegerChain

    with pytest.raises(DatasetError, match="train again"):
        IntegerChain.from_bytes(chain.to_bytes()[:-200])


def test_digest_changes_with_a_weight(chain: Any) -> None:
    from dataclasses import replace

    first, *rest = chain.convolutions
    changed = replace(first, bias=first.bias + np.float32(1))

    assert replace(chain, convolutions=(changed, *rest)).digest() != chain.digest()
