"""What to raise when no image of a request is of use."""

from __future__ import annotations

from models.errors import InvalidImageError
from service.problems import STATUSES


class RejectedImagesError(InvalidImageError):
    """Not one image of a request could be decoded; ``errors`` says why, by file."""

    def __init__(self, rejected: list[tuple[str | None, InvalidImageError]]) -> None:
        """Take the file name and the error of each image, in the request's order."""
        reasons = [error for _, error in rejected]
        codes = {error.code for error in reasons}
        message = f"none of the {len(reasons)} images can be used: see errors"
        super().__init__(
            reasons[0].public if len(reasons) == 1 else message,
            code=codes.pop() if len(codes) == 1 else self._mixed(codes),
        )
        self.errors = [
            {"index": index, "name": name, "code": error.code, "detail": error.public}
            for index, (name, error) in enumerate(rejected)
        ]

    @staticmethod
    def _mixed(codes: set[str]) -> str:
        above_limits = all(STATUSES.get(code) == 413 for code in codes)
        return "too_large" if above_limits else InvalidImageError.code
