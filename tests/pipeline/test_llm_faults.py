"""A server that fails in every way there is: nothing is lost, nothing is paid twice, and the sums add up."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import config, rows, write
from chat_server import ChatServer, Handler, completed, first_times, good_answer, serving

from manifests.errors import UserError, WorkFailedError
from pipeline.llm.server import MAX_BYTES, ServerError

TODO = rows(6)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """What is written without any fault."""
    with serving() as server:
        return write(config(server, tmp_path_factory.mktemp("llm")), TODO)[0]


def drip(handler: Handler) -> None:
    """A server that sends a byte now and then, and never comes to an end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    for _ in range(200):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.05)


def truncated(handler: Handler) -> None:
    """Fewer bytes than announced."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"mess')
    handler.close_connection = True


def bloated(handler: Handler) -> None:
    """What would be taken, if it were not longer than any response may be."""
    document = completed(json.dumps(good_answer(handler.request_document)))
    handler.send(200, document | {"padding": "x" * MAX_BYTES})


FAULTS: dict[str, Callable[[Handler], None]] = {
    "500": lambda handler: handler.send(500, {"error": {"message": "out of order"}}),
    "503": lambda handler: handler.send_raw(503, b"<html>busy</html>", {"Content-Type": "text/html"}),
    "429": lambda handler: handler.send(429, {"error": {"message": "slower"}}, {"Retry-After": "0.05"}),
    "429 without a time": lambda handler: handler.send(429, {}),
    "garbage": lambda handler: handler.send_raw(200, b"\xff\xfe\x00garbage"),
    "cut JSON": lambda handler: handler.send_raw(200, b'{"choices": [{"message": {"content": "{'),
    "cut body": truncated,
    "no choices": lambda handler: handler.send(200, {"choices": []}),
    "deep JSON": lambda handler: handler.send_raw(200, b"[" * 100_000),
    "a good answer that is too long": bloated,
    "1 MB of error": lambda handler: handler.send_raw(500, b"x" * 2**20),
    "reset": lambda handler: handler.reset(),
    "slow drip": drip,
    "silence": lambda handler: time.sleep(2),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_fails_once_is_asked_again_and_nothing_is_lost(server, tmp_path, expected, name) -> None:
    server.fault = first_times(1, FAULTS[name])
    quick = {"timeout_s": 0.4} if name in ("slow drip", "silence") else {}
    made, spent = write(config(server, tmp_path, concurrency=8, **quick), TODO)
    assert made == expected
    assert spent["asked"] == server.answered
    assert spent["prompt_tokens"] == server.prompt_tokens
    assert spent["completion_tokens"] == server.completion_tokens
    assert spent["retries"] == len(server.requests) - server.answered > 0
    server.fault, before = None, len(server.requests)
    again, free = write(config(server, tmp_path), TODO)
    assert again == expected
    assert len(server.requests) == before, "a second run asks for nothing"
    assert free["asked"] == free["prompt_tokens"] == free["cost"] == 0
    assert free["cached"] == spent["asked"] + spent["cached"]


@pytest.mark.parametrize("name", ["a good answer that is too long", "reset", "garbage", "cut body", "slow drip", "500"])
def test_a_row_that_always_fails_fails_alone(server, tmp_path, expected, name) -> None:
    victim = expected[2]["query_text"]
    hurt = [made["query_text"] == victim for made in expected]

    def fault(handler: Handler, request: dict[str, Any], what: str) -> bool:
        if what not in ("query", "unknown") and victim in request["messages"][-1]["content"]:
            FAULTS[name](handler)
            return True
        return False

    server.fault = fault
    changes = {"timeout_s": 0.3} if name == "slow drip" else {}
    made, _ = write(config(server, tmp_path, retries=1, judges=False, natural_think=False, **changes), TODO)
    for row, whole, failed in zip(made, expected, hurt, strict=True):
        if failed:
            assert isinstance(row, ServerError)
        else:
            assert row["reply_text"] == whole["reply_text"]


def test_a_server_that_gives_nothing_but_errors_stops_the_run(server, tmp_path) -> None:
    server.fault = lambda handler, request, what: FAULTS["500"](handler) or True
    with pytest.raises(WorkFailedError, match=r"nothing but errors .*out of order.*run build again"):
        write(config(server, tmp_path, retries=1), rows(14))


def test_a_dead_server_stops_the_run_and_the_next_one_goes_on(tmp_path, expected, monkeypatch) -> None:
    with serving() as server:

        def fault(handler: Handler, request: dict[str, Any], what: str) -> bool:
            if server.answered < 12:
                return False
            handler.reset()
            return True

        server.fault = fault
        port = server.port
        first = config(server, tmp_path, retries=1, concurrency=2)
        # Whoever asks whether it is there is broken off too.
        monkeypatch.setattr(Handler, "do_GET", lambda handler: handler.reset())
        with pytest.raises(WorkFailedError) as error:
            write(first, TODO)
        monkeypatch.undo()
        answered, paid = server.answered, server.completion_tokens
    sentence = str(error.value)
    assert f"http://127.0.0.1:{port}/v1 does not answer" in sentence
    assert "start it and run build again" in sentence
    assert "\n" not in sentence
    with serving(port) as server:
        made, spent = write(config(server, tmp_path, retries=1, concurrency=2), TODO)
        assert made == expected
        assert spent["asked"] == server.answered
    with serving() as server:
        _, whole = write(config(server, tmp_path / "whole", concurrency=2), TODO)
    assert answered + spent["asked"] == whole["asked"], "what was answered before is not asked again"
    assert paid + spent["completion_tokens"] == whole["completion_tokens"]


@pytest.mark.parametrize("kind", ["503", "silence"])
def test_a_gateway_without_a_server_and_a_server_that_hangs_count_as_gone(
    server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Also when the cell has too few rows to tell by their number."""
    monkeypatch.setattr(Handler, "do_GET", FAULTS[kind])
    server.fault = lambda handler, request, what: FAULTS[kind](handler) or True
    with pytest.raises(WorkFailedError, match="does not answer"):
        write(config(server, tmp_path, retries=1, timeout_s=0.5), TODO[:1])


def test_nobody_listening_is_told_at_once(tmp_path) -> None:
    with serving() as server:
        url = server.url
    with pytest.raises(WorkFailedError, match="does not answer"):
        write(config(url, tmp_path, retries=1), TODO)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, "bad key", "refuses the key"),
        (403, "no", "refuses the key"),
        (400, "temperature is not supported", "refuses every request to 'stub', whatever it says .*temperature is not"),
        (422, "max_tokens: too large", "check script.model, max_tokens"),
        (404, "no such model", "knows no model 'stub'"),
        (400, "response_format is not supported", "json_mode: false"),
    ],
)
def test_what_the_user_must_mend_is_told_as_such(server, tmp_path, status, body, words) -> None:
    server.fault = lambda handler, request, what: handler.send(status, {"error": {"message": body}}) or True
    with pytest.raises(UserError, match=words):
        write(config(server, tmp_path), TODO)


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_rows_that_the_server_refuses_fail_alone_however_many(server, tmp_path, expected, status) -> None:
    """Also when all others are in the cache, and nothing but refusals comes."""
    refused = {made["query_text"] for made in expected[1:4]}

    def fault(handler: Handler, request: dict[str, Any], what: str) -> bool:
        bad = what not in ("query", "reply", "contrast") and any(text in str(request["messages"]) for text in refused)
        if bad:
            handler.send(status, {"error": {"message": "content management policy", "code": "content_filter"}})
        return bad

    server.fault = fault
    for attempt in range(2):
        made, _ = write(config(server, tmp_path), TODO)
        for row, whole in zip(made, expected, strict=True):
            if whole["query_text"] in refused:
                assert isinstance(row, ServerError), attempt
                assert "content management policy" in str(row)
            else:
                assert row == whole


@pytest.mark.parametrize("status", [400, 403])
def test_a_filter_that_refuses_the_first_row_of_all_is_no_wrong_key(server, tmp_path, expected, status) -> None:
    """Harmless words are asked for, once, and paid like any."""
    flagged = {"error": {"message": "flagged by moderation"}}

    def fault(handler: Handler, request: dict[str, Any], what: str) -> bool:
        bad = what == "query" and not server.answered
        if bad:
            handler.send(status, flagged)
        return bad

    server.fault = fault
    made, spent = write(config(server, tmp_path, concurrency=1), TODO)
    failed = [row for row in made if isinstance(row, ServerError)]
    assert len(failed) == 1
    assert "flagged by moderation" in str(failed[0])
    assert [row for row in made if not isinstance(row, Exception)] == [
        whole for row, whole in zip(made, expected, strict=True) if not isinstance(row, Exception)
    ]
    assert server.asked()["unknown"] == 1
    assert (spent["asked"], spent["prompt_tokens"]) == (server.answered, server.prompt_tokens)


def test_a_server_that_begins_to_refuse_everything_stops_the_run(server, tmp_path) -> None:
    """Also after answers, such as when an account is closed; those are kept."""

    def fault(handler: Handler, request: dict[str, Any], what: str) -> bool:
        bad = server.answered >= 12
        if bad:
            handler.send(400, {"error": {"message": "the account is closed"}})
        return bad

    server.fault = fault
    with pytest.raises(UserError, match=r"refuses every request .*the account is closed.*run build again"):
        write(config(server, tmp_path, concurrency=2), rows(14))
    server.fault = None
    _, spent = write(config(server, tmp_path), rows(14))
    assert spent["asked"] == server.answered - 12


def test_refusals_while_harmless_words_get_no_answer_either_stop_the_run_in_the_end(server, tmp_path) -> None:
    def fault(handler: Handler, request: dict[str, Any], what: str) -> bool:
        handler.send(503 if what == "unknown" else 400, {"error": {"message": "no"}})
        return True

    server.fault = fault
    with pytest.raises(WorkFailedError, match="nothing but errors"):
        write(config(server, tmp_path, retries=0), rows(14))


def test_a_server_that_wants_money_first_stops_the_run(server, tmp_path) -> None:
    server.fault = lambda handler, request, what: handler.send(402, {"error": {"message": "pay"}}) or True
    with pytest.raises(WorkFailedError, match=r"nothing but errors .*pay"):
        write(config(server, tmp_path), rows(14))


def test_the_key_is_sent_and_never_written(server, tmp_path, monkeypatch) -> None:
    secret = "sk-very-secret-0123456789"
    monkeypatch.setenv("MY_KEY", secret)

    def echo(handler: Handler, request: dict[str, Any], what: str) -> bool:
        if what == "query":
            handler.answer(f"not JSON, but your key is {secret}")
        else:
            handler.answer(json.dumps(good_answer(request)))
        return True

    server.fault = echo
    made, _ = write(config(server, tmp_path, key_env="MY_KEY"), TODO[:2])
    assert server.headers[0]["authorization"] == f"Bearer {secret}"
    assert all(isinstance(row, Exception) and "***" in str(row) and secret not in str(row) for row in made)
    server.fault = lambda handler, request, what: handler.send(401, {"error": {"message": f"bad {secret}"}}) or True
    with pytest.raises(UserError) as error:
        write(config(server, tmp_path, key_env="MY_KEY"), TODO[2:4])
    assert secret not in str(error.value)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if secret.encode() in path.read_bytes()]


@pytest.mark.parametrize("key", ["1", "e", "token", "EMPTY", "stub"])
def test_a_dummy_key_is_not_blotted_out_of_answers(server, tmp_path, expected, monkeypatch, key) -> None:
    monkeypatch.setenv("MY_KEY", key)
    assert write(config(server, tmp_path, key_env="MY_KEY"), TODO[:2])[0] == expected[:2]


def test_a_server_that_wants_to_be_left_alone_for_long_stops_the_run(server, tmp_path) -> None:
    server.fault = lambda handler, request, what: handler.send(429, {}, {"Retry-After": "7200"}) or True
    with pytest.raises(WorkFailedError, match="wait for 7,200 s"):
        write(config(server, tmp_path), TODO)


def test_retry_after_makes_all_requests_wait(server, tmp_path) -> None:
    seen: list[float] = []

    def fault(handler: Handler, request: dict[str, Any], what: str) -> bool:
        seen.append(time.monotonic())
        if len(seen) == 1:
            handler.send(429, {}, {"Retry-After": "1"})
            return True
        return False

    server.fault = fault
    write(config(server, tmp_path, concurrency=1), TODO[:1])
    assert seen[1] - seen[0] >= 0.95


def test_requests_a_minute_are_kept_to(server, tmp_path) -> None:
    started = time.monotonic()
    _, spent = write(config(server, tmp_path, requests_per_minute=600, judges=False, natural_think=False), TODO)
    assert time.monotonic() - started >= (spent["asked"] - 10) / 10


def test_no_more_requests_at_once_than_asked_for(tmp_path) -> None:
    with serving(latency=0.02) as server:
        write(config(server, tmp_path, concurrency=3), TODO)
        assert server.most == 3


def test_a_damaged_entry_of_the_cache_is_asked_again(server, tmp_path, expected) -> None:
    write(config(server, tmp_path), TODO)
    entries = sorted((tmp_path / "cache").glob("??/*.json"))
    damages = [b"", b"{", b"[]", b'{"key": "x", "check": "y", "answer": {}}', b"\xff" * 100]
    for entry, damage in zip(entries, damages, strict=False):
        entry.write_bytes(damage)
    changed = entries[len(damages)]
    changed.write_text(changed.read_text().replace('"completion_tokens":', '"completion_tokens":1'))
    before = server.answered
    made, spent = write(config(server, tmp_path), TODO)
    assert made == expected
    assert server.answered - before == spent["asked"] == len(damages) + 1


def test_a_response_without_a_token_count_is_counted_as_such(server, tmp_path) -> None:
    server.fault = lambda handler, request, what: handler.answer(json.dumps(good_answer(request)), usage=None) or True
    _, spent = write(config(server, tmp_path), TODO[:2])
    assert spent["unmetered"] == spent["asked"] > 0
    assert spent["prompt_tokens"] == 0
