"""Where in a photo a network sees a class: Grad-CAM, in TensorFlow's graph.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
gradient-based localization", arXiv:1610.02391. Networks whose probabilities are averaged
(members, flipped views) have their heat averaged as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import keras
import tensorflow as tf

from models.errors import InvalidRequestError
from models.networks.freezing import CutNetwork
from models.networks.maps import find_last_maps
from models.networks.views import flip

Step: TypeAlias = Callable[[list[Any]], list[Any]]
"""Some layers of a network: tensors in, tensors out."""


@dataclass(frozen=True)
class Look:
    """What one network saw in one view of a batch.

    ``seen`` holds the last maps first, then all else that ``head`` makes logits of.
    """

    view: str
    seen: list[Any]
    head: Step

    def logits(self) -> Any:
        """Logits [N, K], float32."""
        return tf.cast(self.head(self.seen)[0], tf.float32)


@dataclass(frozen=True)
class GradCam:
    """Networks cut at their last maps.

    Attributes:
        trunk: pixels -> what all members share, computed once a view.
        branches: for each member: shared -> what its head sees, and that -> logits.
    """

    views: tuple[str, ...]
    trunk: Step
    branches: tuple[tuple[Step, Step], ...]

    def look(self, pixels: Any) -> list[Look]:
        """What each member sees in each view of *pixels*, float32 [N, H, W, 3]."""
        looks = []
        for view in self.views:
            shared = self.trunk([flip(pixels, view)])
            looks += [Look(view, see(shared), head) for see, head in self.branches]
        return looks


def heatmaps(looks: Sequence[Look], classes: Any) -> Any:
    """Heat [N, h, w], 0..1, for *classes* [N], averaged over *looks*.

    The last spatial maps, weighted by the mean over space of the gradient of the
    class's logit (equations 1 and 2 of the paper), then ReLU; the hottest place of a
    photo is 1. Where nothing speaks for the class, all is 0. Other maps that the head
    looks at (features tapped further down) are held as they are.
    """
    heats = [flip(_heat(each, classes), each.view) for each in looks]
    return _hottest_is_one(tf.add_n(heats))


def build_grad_cam(views: Sequence[str], members: Sequence[CutNetwork]) -> GradCam:
    """Grad-CAM of flat *members* that are averaged over *views* and share a frozen part.

    Raises:
        InvalidRequestError: they have no spatial maps, or are not flat.
    """
    first = members[0]
    maps = find_last_maps(first.whole)
    if first.frozen is None:
        branches = [_split(each.whole, each.whole.inputs, maps.name) for each in members]
        return GradCam(tuple(views), list, tuple(branches))
    if maps.name in {each.name for each in first.frozen.operations}:
        see, rest = _split(first.frozen, first.frozen.inputs, maps.name)
        heads = [_after(rest, partial(_run, each.trained)) for each in members]
        return GradCam(tuple(views), see, tuple((list, head) for head in heads))
    branches = [_split(each.whole, each.frozen.outputs, maps.name) for each in members]
    return GradCam(tuple(views), partial(_run, first.frozen), tuple(branches))


def _split(model: Any, sources: Sequence[Any], layer: str) -> tuple[Step, Step]:
    """*sources* -> the *layer*'s maps and all else that is needed after them; the rest.

    Without the cut, gradients would flow back through the whole network wherever its
    head also looks at maps further down: 7 s instead of milliseconds for six photos.
    """
    maps = model.get_layer(layer).output
    needed = [maps, *_beside(model, maps)]
    see = keras.Model(list(sources), needed)
    rest = keras.Model(needed, model.outputs)
    return partial(_run, see), partial(_run, rest)


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


def _after(first: Step, second: Step) -> Step:
    return lambda tensors: second(first(tensors))


def _heat(look: Look, classes: Any) -> Any:
    maps, *others = look.seen
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(maps)
        logits = tf.cast(look.head([maps, *others])[0], tf.float32)
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
