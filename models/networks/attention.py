"""Heat maps: where in a photo a network sees a class (Grad-CAM), in TensorFlow's graph.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
gradient-based localization", arXiv:1610.02391. Networks whose probabilities are averaged
(members, flipped views) have their heat averaged as well.

Networks are cut at their last spatial maps. Without the cut, gradients would flow back
through the whole network wherever its head also uses maps further down: 7 s instead of
milliseconds for six photos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from models.errors import InvalidRequestError
from models.networks.freezing import CutNetwork
from models.networks.network import flip


def heatmaps(computed: Sequence[LastMaps], classes: Any) -> Any:
    """Heat [N, h, w], 0..1, for *classes* [N], averaged over networks and views.

    The last spatial maps, weighted by the mean over space of the gradient of the class's
    logit (equations 1 and 2 of the paper), then ReLU; the largest value of a photo is 1.
    If nothing speaks for the class, all are 0. Other inputs of the head (features tapped
    further down) are constant.
    """
    heats = [flip(_heat(each, classes), each.view) for each in computed]
    return _hottest_is_one(tf.add_n(heats))


def _heat(computed: LastMaps, classes: Any) -> Any:
    maps, *others = computed.tensors
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(maps)
        logits = tf.cast(computed.head([maps, *others])[0], tf.float32)
        chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
    gradients = tf.cast(tape.gradient(chosen, maps), tf.float32)
    # The square root in second-order pooling has no slope where its products are 0.
    gradients = tf.where(tf.math.is_finite(gradients), gradients, 0)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * tf.cast(maps, tf.float32), axis=-1))
    return _hottest_is_one(heat)


def _hottest_is_one(heat: Any) -> Any:
    hottest = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(heat, hottest)


GraphStep: TypeAlias = Callable[[list[Any]], list[Any]]
"""Some layers of a network: tensors in, tensors out."""


@dataclass(frozen=True)
class LastMaps:
    """The last spatial maps of one network for one view of a batch.

    ``tensors`` are these maps and the other inputs of ``head``, which computes logits.
    """

    view: str
    tensors: list[Any]
    head: GraphStep

    def logits(self) -> Any:
        """Logits [N, K], float32."""
        return tf.cast(self.head(self.tensors)[0], tf.float32)


@dataclass(frozen=True)
class CutEnsemble:
    """Networks cut at their last maps.

    Attributes:
        trunk: pixels -> tensors that all members share, computed once a view.
        branches: for each member: shared tensors -> inputs of its head, and these -> logits.
    """

    views: tuple[str, ...]
    trunk: GraphStep
    branches: tuple[tuple[GraphStep, GraphStep], ...]

    def last_maps(self, pixels: Any) -> list[LastMaps]:
        """Each member's last maps for each view of *pixels*, float32 [N, H, W, 3]."""
        computed = []
        for view in self.views:
            shared = self.trunk([flip(pixels, view)])
            computed += [
                LastMaps(view, body(shared), head) for body, head in self.branches
            ]
        return computed


def cut_at_last_maps(
    views: Sequence[str], members: Sequence[CutNetwork]
) -> CutEnsemble:
    """Flat *members* that are averaged over *views* and share their frozen part.

    Raises:
        InvalidRequestError: they have no spatial maps, or are not flat.
    """
    first = members[0]
    maps = find_last_maps(first.whole)
    if first.frozen is None:
        branches = [
            _split(each.whole, each.whole.inputs, maps.name) for each in members
        ]
        return CutEnsemble(tuple(views), list, tuple(branches))
    if maps.name in {each.name for each in first.frozen.operations}:
        body, rest = _split(first.served, first.served.inputs, maps.name)
        heads = [_after(rest, partial(_run, each.trained)) for each in members]
        return CutEnsemble(tuple(views), body, tuple((list, head) for head in heads))
    branches = [_split(each.whole, each.frozen.outputs, maps.name) for each in members]
    return CutEnsemble(tuple(views), partial(_run, first.served), tuple(branches))


def _split(
    model: Any, sources: Sequence[Any], layer: str
) -> tuple[GraphStep, GraphStep]:
    """*sources* -> the *layer*'s maps and the head's other inputs; these -> the outputs."""
    maps = model.get_layer(layer).output
    needed = [maps, *_beside(model, maps)]
    return _step(sources, needed), _step(needed, model.outputs)


def _step(sources: Sequence[Any], results: Sequence[Any]) -> GraphStep:
    # Keras wants an operation on every path, also where a result is a source.
    given = {id(each) for each in sources}
    made = [
        keras.layers.Identity(dtype=each.dtype)(each) if id(each) in given else each
        for each in results
    ]
    return partial(_run, keras.Model(list(sources), made))


def _beside(model: Any, maps: Any) -> Iterator[Any]:
    after = {id(maps)}
    beside: dict[int, Any] = {}
    for operation in model.operations:
        inputs = keras.tree.flatten(operation.input)
        if any(id(tensor) in after for tensor in inputs):
            beside |= {id(each): each for each in inputs if id(each) not in after}
            after |= {id(each) for each in keras.tree.flatten(operation.output)}
    if not any(id(each) in after for each in model.outputs):
        message = (
            f"network {model.name!r} is not flat: give one that holds no other model "
            f"and whose layers are used in it alone"
        )
        raise InvalidRequestError(message)
    beside |= {id(each): each for each in model.outputs if id(each) not in after}
    yield from beside.values()


def _run(model: Any, tensors: list[Any]) -> list[Any]:
    inputs = keras.tree.pack_sequence_as(model.input, tensors)
    return list(keras.tree.flatten(model(inputs, training=False)))


def _after(first: GraphStep, second: GraphStep) -> GraphStep:
    return lambda tensors: second(first(tensors))


def spatial_layers(model: Any) -> list[Any]:
    """The layers of *model* with maps of more than one point, in order."""
    return [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer | keras.Model)
        and _has_place(output_shape(layer))
    ]


def find_last_maps(model: Any) -> Any:
    """The last layer whose output is a spatial map, [N, h, w, C].

    Raises:
        InvalidRequestError: there is none.
    """
    found = spatial_layers(model)
    if not found:
        raise no_maps(model)
    return found[-1]


def no_maps(model: Any) -> InvalidRequestError:
    """The error for a *model* without spatial maps."""
    return InvalidRequestError(
        f"network {model.name!r} has no convolution's maps to look at: "
        f"give one that is a flat functional model"
    )


def output_shape(layer: Any) -> tuple[int | None, ...]:
    """The shape of a layer's first output without the batch axis; None: it varies."""
    output = layer.output
    first = output[0] if isinstance(output, list | tuple) else output
    return tuple(first.shape[1:])


def _has_place(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 3 and math.prod(side or 2 for side in shape[:2]) > 1
