"""What goes wrong between here and Kaggle; no message holds a credential.

KaggleError                  nothing was submitted; the message says what to do
`-- KaggleUncertainError     the file was uploaded and no answer came: it may have been
"""

from __future__ import annotations

from typing import Any, Final

from models.errors import KennelError

CREDENTIALS: Final = (
    "make a token at https://www.kaggle.com/settings/api and set KAGGLE_API_TOKEN, or "
    "KAGGLE_USERNAME and KAGGLE_KEY"
)

_REFUSALS: Final = {
    400: "Kaggle cannot use the request",
    401: f"Kaggle does not know the credentials: {CREDENTIALS}",
    403: "Kaggle refuses this account: join the competition and accept its rules at "
    "https://www.kaggle.com/competitions/{competition}/rules",
    404: "Kaggle has no competition {competition!r} that takes submissions: the name is "
    "the last part of the competition's address",
    413: "the file is too large for Kaggle",
    429: "too many submissions or requests: a competition takes a few a day, try later",
}
_TROUBLES: Final = {
    "not_installed": "Kaggle's client is not installed: pip install 'kennel[kaggle]'",
    "no_credentials": f"there are no credentials that Kaggle takes: {CREDENTIALS}",
    "unreachable": "Kaggle cannot be reached: look at the network, then try again",
    "upload_failed": "Kaggle did not take the file: try again",
}


class KaggleError(KennelError):
    """Kaggle or its client refused, or did not answer.

    Attributes:
        status: HTTP status of Kaggle's answer; 0 without one.
    """

    code = "kaggle_error"

    def __init__(self, message: str, status: int = 0) -> None:
        """Keep what happened, without anything secret."""
        super().__init__(message)
        self.status = status


class KaggleUncertainError(KaggleError):
    """The file was uploaded, and what became of it is not known."""


def read_trouble(
    trouble: dict[str, Any], competition: str, *, uploaded: bool
) -> KaggleError:
    """The error for the *trouble* that the client's process told of."""
    kind, status = trouble["kind"], int(trouble.get("status") or 0)
    if uploaded and (status == 0 or status >= 500):
        return uncertain(competition)
    words = _TROUBLES.get(kind) or f"Kaggle's client failed ({kind})"
    if status >= 500:
        words = f"Kaggle fails at the moment ({status}): try again later"
    elif status:
        words = _REFUSALS.get(status, f"Kaggle refused ({status})")
    said = f" (it says: {trouble['detail']})" if trouble.get("detail") else ""
    return KaggleError(words.format(competition=competition) + said, status)


def uncertain(competition: str) -> KaggleUncertainError:
    """The error for an upload without an answer."""
    message = (
        "the file was uploaded, but Kaggle did not say what became of it: before you "
        "send it again, see whether it is there with "
        f"'kennel kaggle submissions {competition}'"
    )
    return KaggleUncertainError(message)
