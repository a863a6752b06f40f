"""A model is rolled back, replaced or removed while a job runs."""

from __future__ import annotations

from tests.faults.ordeal import Ordeal
from tests.faults.scripted_model import ScriptedModelServer


def test_newer_version_does_not_answer_for_the_pinned_one(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """Both are served: the job ends as it began."""
    ordeal.begin()
    model_server.versions = (1, 2)

    ordeal.check_success()


def test_job_whose_version_is_rolled_back_fails_and_can_go_on(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """It says what is served instead; what was finished is not worked again."""
    ordeal.begin()
    model_server.versions = (2,)
    ordeal.check_failure("not served any more", "served: 2", "retry the job")
    done = ordeal.artefacts()

    model_server.versions = (1, 2)
    ordeal.world.queue.retry(ordeal.job.id)

    # The client saw it fail, which is no breach: only the CSV is compared again.
    ordeal.world.wait_for(ordeal.job, "succeeded")
    assert ordeal.world.csv(ordeal.job) == ordeal.promise.expected
    assert done.items() <= ordeal.artefacts().items()


def test_job_whose_model_is_removed_waits_and_goes_on(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """Without a worker, and without a made-up probability."""
    ordeal.begin()
    model_server.versions = ()
    ordeal.wait_until_waiting()
    model_server.versions = (1,)

    ordeal.check_success()
