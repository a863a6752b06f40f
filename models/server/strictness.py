"""Where the embedded server is kinder than TensorFlow Serving, in one value.

`FRIENDLY` is for people and small machines. `STRICT` fails where a real TensorFlow
Serving 2.20 was seen to fail, so that a test against it hides nothing. Not imitated: there
an empty batch also harms the request after it, ``--num_load_threads`` above one lets others
load meanwhile, and ``pad_variable_length_inputs`` pads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from models.wire.batching_parameters import BatchingParameters, serving_defaults
from models.wire.config import VERSIONS_KEPT


@dataclass(frozen=True)
class Strictness:
    """What the server does; each default is the kind way.

    Attributes:
        refuses_wrong_shapes: an image of another size than the signature's is refused
            (ABORTED). Otherwise the graph decides, and requests of different sizes that
            meet in a batch all fail (FAILED_PRECONDITION, "different shapes").
        answers_empty_batches: at once. Otherwise a request of no image has no answer
            until its deadline.
        sleeping_scheduler: queues cost nothing while nobody asks. Otherwise they are
            TensorFlow Serving's own, with its words when they are full.
        default_batching: the parameters if no file states them.
        versions_kept: the newest versions that are loaded below ``--model_base_path``.
        resolves_base_path: a relative one is taken from the working folder. Otherwise it
            is refused.
        waits_for_whole_versions: a version's folder without a graph is not looked at.
            Otherwise it is a version that cannot be loaded.
        serves_while_loading: the port is open from the start, and a version that cannot
            be loaded says so (END) and is tried again while others are loaded.
            Otherwise the port opens when all are loaded; a version that cannot be
            loaded is LOADING until its retries are over, and keeps others waiting.
    """

    refuses_wrong_shapes: bool = True
    answers_empty_batches: bool = True
    sleeping_scheduler: bool = True
    default_batching: Callable[[], BatchingParameters] = BatchingParameters
    versions_kept: int = VERSIONS_KEPT
    resolves_base_path: bool = True
    waits_for_whole_versions: bool = True
    serves_while_loading: bool = True


FRIENDLY: Final = Strictness()
STRICT: Final = Strictness(
    refuses_wrong_shapes=False,
    answers_empty_batches=False,
    sleeping_scheduler=False,
    default_batching=serving_defaults,
    versions_kept=1,
    resolves_base_path=False,
    waits_for_whole_versions=False,
    serves_while_loading=False,
)
