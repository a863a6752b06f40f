"""The shape of an error answer."""

from __future__ import annotations

from marshmallow import fields

from service.documents import codes
from service.documents.members import Members, count, text


class ImageErrorSchema(Members):
    """What is wrong with one image."""

    code = text("Stable, for programs")
    detail = text("For people: the value and the remedy")


class ListedErrorSchema(ImageErrorSchema):
    """The same, in a list of several."""

    index = count("Number of the image in the request, from 0")
    name = text("File name as sent", allow_none=True)


class ProblemSchema(Members):
    """RFC 9457 with three members more."""

    type = text("Always `about:blank`")
    title = text("The status in words")
    status = count("The HTTP status", 400)
    detail = text("For people: the value and the remedy")
    instance = text("Path of the request")
    code = text(f"Stable, for programs:\n\n{codes.table()}")
    request_id = text("As in the header X-Request-ID")
    errors = fields.List(fields.Nested(ListedErrorSchema))
    error = text(
        "The detail once more, where clients of TensorFlow Serving and of the Open "
        "Inference Protocol look for it",
        required=False,
    )
