"""Start of TensorFlow, without its messages on the terminal."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


def start_tensorflow() -> None:
    """Import TensorFlow quietly; call it before importing a module that imports it.

    Its C++ part writes to file descriptor 2 before its own log level applies, so that
    descriptor is redirected while it starts. Errors still arrive as exceptions.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    with _silent_stderr():
        import tensorflow as tf

        tf.config.list_physical_devices()
        tf.zeros([1])
    logging.getLogger("tensorflow").setLevel(logging.ERROR)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
