"""Parts of the language model's client, each alone: the cache's files, responses, waiting times, the meter."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from pipeline.llm.cache import Answer, Cache, Request
from pipeline.llm.limits import Meter, retry_after
from pipeline.llm.server import MAX_BYTES, ServerError, read_response


def test_of_two_answers_to_a_request_the_first_is_kept_by_all(tmp_path) -> None:
    one, two = (Answer(text, "stop", "m", 1, 1) for text in ("one", "two"))
    caches = [Cache(tmp_path) for _ in range(2)]
    assert caches[0].put("ab" * 16, one) == one
    assert caches[1].put("ab" * 16, two) == one
    assert caches[1].get("ab" * 16) == one
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp-")] == []


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_answers_are_kept_where_files_cannot_be_linked(tmp_path, monkeypatch, number) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr(os, "link", link)
    one, two = (Answer(text, "stop", "m", 1, 1) for text in ("one", "two"))
    assert Cache(tmp_path).put("ab" * 16, one) == one
    assert Cache(tmp_path).put("ab" * 16, two) == one
    assert Cache(tmp_path).get("ab" * 16) == one
    assert [path for path in tmp_path.rglob("*") if path.name.startswith(".tmp-")] == []


def test_only_the_rejected_answer_itself_is_taken_out_of_the_cache(tmp_path) -> None:
    cache = Cache(tmp_path)
    bad, good = (Answer(text, "stop", "m", 1, 1) for text in ("bad", "good"))
    one, two = (Request("query", "m", "", (), {}, seed) for seed in range(2))
    cache.put(one.key, bad)
    cache.put(two.key, good)
    file = cache.reject([(one, bad), (two, bad)], "no use")
    assert cache.get(one.key) is None
    assert cache.get(two.key) == good, "that of another worker"
    assert [answer["text"] for answer in json.loads(file.read_text())["answers"]] == ["bad", "bad"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"[]", b'"text"', b"{}", b'{"choices": {}}', b'{"choices": [null]}', b'{"choices": [{}]}',
        b'{"choices": [{"message": "x"}]}', b'{"choices": [{"message": {"content": 5}}]}', b"\x80",
    ],
)  # fmt: skip
def test_what_is_no_completion_is_refused(body: bytes) -> None:
    with pytest.raises(ServerError):
        read_response(body)


def test_odd_but_usable_completions_are_read() -> None:
    body = b'{"model": "\\u202emodel\\n", "choices": [{"message": {"content": null}}], "usage": {"prompt_tokens": -4}}'
    answer = read_response(body)
    assert (answer.text, answer.model, answer.metered) == ("", "?model?", False)
    assert len(body) < MAX_BYTES


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "-3"}, 0),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after": "Wed, 01 Jan 2025 00:00:10 GMT"}, 10),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, lambda: 1735689600.0) == seconds


def test_a_meter_pays_back_what_was_taken_on_credit() -> None:
    now = [0.0]
    meter = Meter(60, lambda: now[0])
    meter.correct(5)
    assert meter._now() == -4
    now[0] = 3
    assert meter._now() == -1
    now[0] = 100
    assert meter._now() == 1
