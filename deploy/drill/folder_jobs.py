"""A folder job that is running while something dies, and what its CSV has to be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import click

from deploy.trial.deployment import Deployment
from models.errors import KennelError

FOLDER: Final = "drill"
LONGEST_SECONDS: Final = 900.0


def link_photos(deployment: Deployment, images: int) -> None:
    """A folder of *images* photos for jobs: those of the demo, again and again.

    Raises:
        OSError: it cannot be written.
    """
    folder = deployment.folder / "var/data" / FOLDER
    folder.mkdir()
    photos = deployment.photos
    for number in range(images):
        photo = photos[number % len(photos)]
        os.link(photo, folder / f"{number + 1}{photo.suffix}")


@dataclass(frozen=True)
class FolderJobs:
    """Jobs over the same folder, each of which has to end as *reference* did."""

    deployment: Deployment
    reference: bytes

    @classmethod
    def with_reference(cls, deployment: Deployment) -> FolderJobs:
        """Run one job while nothing is amiss.

        Raises:
            KennelError: it failed.
            TimeoutError: it takes too long.
        """
        with deployment.client() as client:
            job = client.submit(FOLDER)
            client.wait(job.id, timeout_seconds=LONGEST_SECONDS)
            return cls(deployment, client.submission(job.id))

    def begin(self) -> str:
        """The id of a job of which a part is done, and not all.

        Raises:
            KennelError: it does not begin.
        """
        with self.deployment.client() as client:
            job = client.submit(FOLDER)
            self.deployment.wait_for(
                "the job has begun", lambda: client.job(job.id).done > 0
            )
        self.expect_running(job.id)
        return job.id

    def expect_running(self, job_id: str) -> None:
        """See that it is not over: then what was done to it was done in its midst.

        Raises:
            KennelError: it is over.
        """
        with self.deployment.client() as client:
            if client.job(job_id).is_over:
                raise KennelError("the job was too short: give more --photos")

    def ends_equal(self, job_id: str) -> bool:
        """Wait for its end; whether its CSV is the reference, byte for byte."""
        try:
            with self.deployment.client(retries=3) as client:
                client.wait(job_id, timeout_seconds=LONGEST_SECONDS)
                return client.submission(job_id) == self.reference
        except (KennelError, TimeoutError) as error:
            click.echo(f"job {job_id}: {error}")
            return False
