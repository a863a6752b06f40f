"""kennel kaggle against a stand-in for Kaggle: sent once, complete, without secrets."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.kennel.kaggle_stand_in import (
    BASIC,
    CREATE,
    INSTALLED,
    INTROSPECT,
    KEY,
    LIST,
    SECRET,
    START,
    TOKEN,
    UPLOAD,
    kaggle,
    kaggle_refuses,
    kaggle_says,
)
from tests.kennel.scripted_api import breaks_off, hangs, says

ROOT = Path(__file__).parents[2]

if not INSTALLED and os.environ.get("CI") == "true":
    pytest.fail("no client of Kaggle: pip install 'kennel[kaggle]'", pytrace=False)

pytestmark = pytest.mark.skipif(
    not INSTALLED, reason="no client of Kaggle: pip install 'kennel[kaggle]'"
)
ECHO = f"{SECRET} in {BASIC}"


def kept_secret(result: Result) -> bool:
    """Neither the key nor its encoded form is in anything that can be read."""
    texts = (result.output, result.stderr, str(result.exception))
    return not any(each in text for each in (SECRET, BASIC) for text in texts)


@pytest.mark.parametrize(
    ("credentials", "authorization"),
    [(KEY, f"Basic {BASIC}"), (TOKEN, f"Bearer {SECRET}")],
    ids=["key", "token"],
)
def test_submission_arrives_byte_for_byte(
    tmp_path: Path, credentials: dict[str, str], authorization: str
) -> None:
    with kaggle(tmp_path) as endpoint:
        result = endpoint.submit("--json", VERBOSE="1", **credentials)

    content = (tmp_path / "submission.csv").read_bytes()
    answer = json.loads(result.stdout)
    assert (result.exit_code, answer["ref"]) == (0, 42)
    assert answer["file"]["size_bytes"] == len(content)
    assert [each for each in endpoint.calls() if each != INTROSPECT] == [
        *(START, UPLOAD, CREATE)
    ]
    assert endpoint.call(UPLOAD).body == content
    for name in (START, CREATE):
        assert endpoint.call(name).headers["Authorization"] == authorization
    assert "Authorization" not in endpoint.call(UPLOAD).headers
    assert json.loads(endpoint.call(START).body)["contentLength"] == len(content)
    assert json.loads(endpoint.call(CREATE).body) == {
        "competitionName": "cats",
        "blobFileTokens": "blob-token",
        "submissionDescription": "first",
    }
    assert kept_secret(result)


def test_scores_are_listed(tmp_path: Path) -> None:
    with kaggle(tmp_path) as endpoint:
        result = endpoint.run("submissions", "cats")

    assert result.exit_code == 0
    assert "42  2026-11-21T09:30:00" in result.stdout
    assert "complete  public 0.05512, private -  submission.csv  first" in result.stdout


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "cannot use the request"),
        (401, "does not know the credentials"),
        (403, "https://www.kaggle.com/competitions/cats/rules"),
        (404, "no competition 'cats'"),
        (413, "too large"),
        (429, "a few a day"),
        (500, "fails at the moment (500)"),
    ],
)
def test_refusal_names_the_remedy_and_is_not_repeated(
    tmp_path: Path, status: int, words: str
) -> None:
    refused = kaggle_refuses(status, ECHO, Retry_After="1")
    with kaggle(tmp_path, {START: refused}) as endpoint:
        result = endpoint.submit()

    assert result.exit_code == 1
    assert words in result.stderr
    assert "it says: *** in ***" in result.stderr
    assert endpoint.calls() == [START]
    assert kept_secret(result)


@pytest.mark.parametrize("status", [403, 413, 429])
def test_refused_file_was_not_submitted(tmp_path: Path, status: int) -> None:
    with kaggle(tmp_path, {UPLOAD: says(ECHO.encode(), status)}) as endpoint:
        result = endpoint.submit()

    assert result.exit_code == 1
    assert "did not take the file" in result.stderr
    assert endpoint.calls() == [START, UPLOAD]
    assert kept_secret(result)


@pytest.mark.parametrize(
    "answer",
    [breaks_off, hangs, kaggle_refuses(500, ECHO), says(b"<html>")],
    ids=["breaks off", "hangs", "fails", "no JSON"],
)
def test_unknown_outcome_is_told_and_not_sent_again(
    tmp_path: Path, answer: Any
) -> None:
    with kaggle(tmp_path, {CREATE: answer}) as endpoint:
        result = endpoint.submit("--timeout", "5")

    assert result.exit_code == 1
    assert "'kennel kaggle submissions cats'" in result.stderr
    assert endpoint.calls() == [START, UPLOAD, CREATE]
    assert kept_secret(result)


def test_hanging_kaggle_is_left(tmp_path: Path) -> None:
    with kaggle(tmp_path, {START: hangs}) as endpoint:
        result = endpoint.submit("--timeout", "2")

    assert result.exit_code == 1
    assert "took more than 2 s, before it had submitted anything" in result.stderr


@pytest.mark.parametrize("credentials", [KEY, TOKEN], ids=["key", "token"])
def test_kaggle_that_is_away_is_told_as_that(
    tmp_path: Path, credentials: dict[str, str]
) -> None:
    with kaggle(tmp_path) as endpoint:
        pass
    result = endpoint.submit(**credentials)

    assert result.exit_code == 1
    assert "cannot be reached" in result.stderr
    assert kept_secret(result)


@pytest.mark.parametrize(
    "answer",
    [kaggle_says({"active": False}), kaggle_refuses(401, ECHO)],
    ids=["expired", "refused"],
)
def test_token_that_kaggle_does_not_know_is_told(tmp_path: Path, answer: Any) -> None:
    with kaggle(tmp_path, {INTROSPECT: answer}) as endpoint:
        result = endpoint.submit(**TOKEN)

    assert result.exit_code == 1
    assert "https://www.kaggle.com/settings/api" in result.stderr
    assert START not in endpoint.calls()
    assert kept_secret(result)


def test_missing_credentials_are_asked_for(tmp_path: Path) -> None:
    with kaggle(tmp_path) as endpoint:
        result = endpoint.submit(KAGGLE_KEY="")

    assert result.exit_code == 1
    assert "no credentials that Kaggle takes" in result.stderr
    assert endpoint.calls() == []


def test_refused_list_is_told(tmp_path: Path) -> None:
    with kaggle(tmp_path, {LIST: kaggle_refuses(403)}) as endpoint:
        result = endpoint.run("submissions", "cats")

    assert result.exit_code == 1
    assert "accept its rules" in result.stderr


@pytest.mark.parametrize(
    ("content", "arguments", "words"),
    [
        ("id,label\n1,nan\n", (), "line 2: id '1': nan is no probability"),
        ("id,label\n", (), "has a header and no rows"),
        ("id,label\n1,0.5\n", ("--competition", "../x"), "'../x' is no competition"),
        ("id,label\n1,0.5\n", ("--sample",), "lacks 1 of the ids"),
    ],
)
def test_what_cannot_be_handed_in_is_not_sent(
    tmp_path: Path, content: str, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "submission.csv").write_text(content)
    sample = tmp_path / "sample.csv"
    sample.write_text("id,label\n1,0\n2,0\n")
    more = (*arguments, str(sample)) if "--sample" in arguments else arguments
    with kaggle(tmp_path) as endpoint:
        result = endpoint.submit(*more)

    assert result.exit_code == 2
    assert words in result.stderr
    assert endpoint.calls() == []


def test_missing_client_is_named_with_its_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = tmp_path / "python"
    # Without site-packages there is Kennel alone.
    command = f'PYTHONPATH={ROOT} exec {sys.executable} -S "$@"'
    bare.write_text(f"#!/bin/sh\n{command}\n")
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with kaggle(tmp_path) as endpoint:
        result = endpoint.submit()

    assert result.exit_code == 1
    assert "pip install 'kennel[kaggle]'" in result.stderr
