"""The HTTP API's client: `from kennel.client import Client`.

with Client("http://127.0.0.1:8000") as client:
    answer = client.predict(["rex.jpg", "tom.jpg"])
    job = client.wait(client.submit("test").id)
    client.download(job.id, Path("submission.csv"))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Self, Unpack
from urllib.parse import quote

from kennel.api.answers import Answer, having
from kennel.api.call import Call
from kennel.api.jobs import JobCalls
from kennel.api.options import PredictOptions, VersionChoice, query_path
from kennel.api.predicting import Image, Predictions, image_form
from kennel.api.transport import Transport

_ROLLOUT: Final = ("id", "model", "state", "stable", "canary", "percent", "started")


class Client(JobCalls):
    """One Kennel API; thread-safe; a context manager."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 30,
        retries: int = 3,
    ) -> None:
        """Use the API at *url*, for example ``http://127.0.0.1:8000``.

        An answer may take *timeout_seconds*. What is safe to repeat is tried again up to
        *retries* times; all together ends within (1 + retries) such times.

        Raises:
            InvalidRequestError: the address or the key cannot be one.
        """
        super().__init__(Transport(url, api_key, timeout_seconds, retries))

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._transport.close()

    def predict(
        self, images: Image | Iterable[Image], **query: Unpack[PredictOptions]
    ) -> Answer:
        """What is on the *images*, any number of paths or contents, in their order.

        One version answers for all; an image that cannot be used has an ``error``.

        Raises:
            ApiError: the API refused or cannot be reached.
            OSError: a file cannot be read.
        """
        if isinstance(images, Path | str | bytes):
            images = [images]
        return Answer.joined(
            Predictions(self._transport.ask_json, query).answers(images)
        )

    def predict_each(
        self, images: Iterable[Image], **query: Unpack[PredictOptions]
    ) -> Iterator[Answer]:
        """As `predict`, but each request's answer as soon as it is there, in order.

        An image whose file cannot be read or whose request fails has an ``error`` too,
        and the others are asked for all the same. The memory taken does not depend on
        how many images there are.

        Raises:
            ApiError: no other image would be answered either: the API refused, or
                cannot be reached.
        """
        requests = Predictions(self._transport.ask_json, query, keep_going=True)
        return requests.answers(images)

    def explain(
        self,
        image: Image,
        *,
        class_name: str | None = None,
        **query: Unpack[VersionChoice],
    ) -> dict[str, Any]:
        """What speaks for *class_name* (default: the most probable) on one image.

        The JSON of POST /v1/explain; ``heatmap`` holds a value from 0 to 1 a cell.

        Raises:
            ApiError: the API refused or cannot be reached.
            OSError: the file cannot be read.
        """
        body, kind = image_form(image)
        path = query_path("/v1/explain", {**query, "class": class_name})
        call = Call("POST", path, {"Content-Type": kind}, lambda: body)
        return self._transport.ask_json(call, dict)

    def models(self) -> list[dict[str, Any]]:
        """What is served: each model with its versions and their cards.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        call = Call("GET", "/v1/models")
        return self._transport.ask_json(call, lambda answer: list(answer["models"]))

    def model(self, name: str) -> dict[str, Any]:
        """One served model with its versions, newest first, and their cards.

        Raises:
            ApiError: the API refused (status 404: no such model) or cannot be reached.
        """
        call = Call("GET", f"/v1/models/{quote(name)}")
        return self._transport.ask_json(call, having("versions"))

    def rollout(self, name: str) -> dict[str, Any]:
        """A model's last rollout, with the comparison of its two versions.

        Raises:
            ApiError: the API refused (status 404: it had none) or cannot be reached.
        """
        call = Call("GET", f"/v1/models/{quote(name)}/rollout")
        return self._transport.ask_json(call, having(*_ROLLOUT))

    def readiness(self) -> dict[str, Any]:
        """What GET /readyz says of the parts at this moment.

        Raises:
            ApiBusyError: the model server cannot answer now.
            ApiError: the API cannot be reached.
        """
        # "Not ready" is an answer: asked again, it would be one to another question.
        call = Call("GET", "/readyz", repeatable=False)
        return self._transport.ask_json(call, having("status"))

    def version(self) -> str:
        """The version of the program that the API runs.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        call = Call("GET", "/openapi.json")
        return self._transport.ask_json(call, lambda it: str(it["info"]["version"]))
