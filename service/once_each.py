"""Members of a query or a form: what would be overlooked is refused."""

from __future__ import annotations

from werkzeug.datastructures import MultiDict

from models.errors import InvalidRequestError, quoted


def once_each(
    given: MultiDict[str, str], known: tuple[str, ...] | None = None
) -> dict[str, str]:
    """What *given* says, each member once.

    Raises:
        InvalidRequestError: a member is there twice, or is not one of *known*.
    """
    for name, values in given.lists():
        if known is not None and name not in known:
            names = ", ".join(known)
            raise InvalidRequestError(
                f"unknown parameter {quoted(name)}: known are {names}"
            )
        if len(values) > 1:
            raise InvalidRequestError(f"{quoted(name)} is there twice: send it once")
    return given.to_dict()
