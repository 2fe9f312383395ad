"""A run whose texts a server writes: the same columns as the bank's, and nothing is lost when the server is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from chat_server import ChatServer, Handler, good_answer, prompt_of, serving
from conftest import echat, echat_process, tree

from manifests.errors import WorkFailedError
from manifests.ledger import Ledger
from manifests.prompts import load_prompts
from manifests.run import load_run
from pipeline.build import BuildResult, build
from pipeline.status import status
from pipeline.verify import verify

PLAN = {"quotas": {"emotion": 6, "neutral": 2}, "part_rows": 2, "multi": ["gender", "emotion"]}


def run(file: Path, out: Path, rounds: int | None = None) -> BuildResult:
    return build(load_run(file), file, out, quiet=True, rounds=rounds)


def asking(server: ChatServer | str, **changes: Any) -> dict[str, Any]:
    url = server if isinstance(server, str) else server.url
    fast = {"backoff_s": 0.01, "retries": 1, "price_in": 1.0, "price_out": 2.0}
    return {"script": {"engine": "openai", "base_url": url, "model": "stub", **fast, **changes}, "plan": PLAN}


def scripts(out: Path) -> pa.Table:
    """All rows of the stage `script` of a run."""
    ledger = Ledger(out)
    records = [record for part in ledger.parts("script") for record in ledger.history("script", [part])]
    return pa.concat_tables([ledger.load(record) for record in records])


def test_rows_are_as_the_banks_and_say_who_wrote_them(tone_yaml: Callable[..., Path], tmp_path: Path) -> None:
    run(tone_yaml(plan=PLAN), tmp_path / "bank")
    with serving() as server:
        file = tone_yaml("llm.yaml", **asking(server))
        result = run(file, tmp_path / "llm")
        answered, asked = server.answered, len(server.requests)
        cost = (server.prompt_tokens + 2 * server.completion_tokens) / 1e6
        again = run(file, tmp_path / "llm")
        assert len(server.requests) == asked, "a second build asks for nothing"
        unjudged = tone_yaml("unjudged.yaml", **asking(server), select={"text": {"judge_min": None}})
        assert run(unjudged, tmp_path / "unjudged").statistics["verdict"] == {"kept": 8}
    # The server's judges say anything, and are obeyed.
    assert sum(result.statistics["verdict"].values()) == 8
    assert set(result.statistics["reason"]) <= {"judge_neutral", "judge_plausible", "judge_relevant"}
    assert result.statistics["verdict"]["rejected"] > 0
    assert verify(tmp_path / "llm") == []
    assert result.asked_llm == again.asked_llm == status(tmp_path / "llm").asked_llm
    assert result.asked_llm["asked"] == answered
    assert result.asked_llm["cost"] == pytest.approx(cost, abs=1e-5)
    bank, llm = scripts(tmp_path / "bank"), scripts(tmp_path / "llm")
    assert llm.schema.equals(bank.schema, check_metadata=True)
    assert set(llm["writer"].to_pylist()) == {"openai/stub (stub-1 fp)"}
    assert set(llm["prompts"].to_pylist()) == {load_prompts("en").revision}
    assert llm["judge_neutral"].null_count == 0
    assert bank["judge_neutral"].null_count == len(bank)


def test_a_server_that_dies_stops_the_build_with_a_sentence_and_the_same_command_goes_on(
    tone_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    with serving() as server:
        whole = run(tone_yaml("whole.yaml", **asking(server)), tmp_path / "whole")
    with serving() as server:
        port = server.port

        def dying(handler: Handler, request: dict[str, Any], what: str) -> bool:
            if server.answered >= 20:
                server.socket.close()  # nobody can connect any more
                handler.reset()
                return True
            return False

        server.fault = dying
        file = tone_yaml(**asking(server, concurrency=2))
        with pytest.raises(WorkFailedError, match=r"does not answer .*; start it and run build again"):
            run(file, tmp_path / "out")
        paid = server.completion_tokens
    failed = echat("build", file, "--out", tmp_path / "out", "--quiet")
    assert failed.returncode == 1
    assert failed.stderr.count("\n") == 1, failed.stderr
    assert failed.stderr.startswith(f"error: script: the server at http://127.0.0.1:{port}/v1 does not answer")
    state = status(tmp_path / "out")
    assert sum(quarantined for _, _, _, quarantined in state.stages) == 0, "no row is at fault"
    with serving(port) as server:
        result = run(file, tmp_path / "out")
        assert paid + server.completion_tokens == whole.asked_llm["completion_tokens"], "nothing was paid twice"
    assert result.findings == []
    with serving(port):
        again = echat("build", file, "--out", tmp_path / "out", "--quiet")
    assert (again.returncode, again.stderr) == (0, "")
    assert tree(tmp_path / "out" / "shards" / "current") == tree(tmp_path / "whole" / "shards" / "current")


def test_a_pair_whose_words_were_rejected_gets_other_words_when_it_is_tried_again(
    tone_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    """Both rows of it: the same new words for both."""
    first: set[str] = set()
    strict = True

    def picky(request: dict[str, Any]) -> Any:
        answer, what = good_answer(request), prompt_of(request)
        if what == "query" and strict:
            first.add(answer["query"])
        if what in ("neutral", "plausible", "relevant"):
            bad = any(query in request["messages"][-1]["content"] for query in first)
            return {"score": 1 if bad and what == "neutral" else 5}
        return answer

    plan = {"quotas": {"emotion": {"sad": 3, "happy": 3}}, "contrastive": 1.0, "retries": 1, "part_rows": 4}
    with serving() as server:
        server.answer = picky
        file, out = tone_yaml(**asking(server) | {"plan": plan}), tmp_path / "out"
        assert run(file, out).statistics["verdict"] == {"rejected": 6}
        strict = False
        result = run(file, out, rounds=1)
    assert result.statistics["verdict"]["rejected"] == 6
    assert (result.short, result.findings) == ((), [])
    records = [record for part in Ledger(out).parts("plan") for record in Ledger(out).history("plan", [part])]
    plan_of = {row["id"]: row for item in records for row in Ledger(out).load(item).to_pylist()}
    said: dict[str, list[str]] = {}
    for row in scripts(out).to_pylist():
        if plan_of[row["id"]]["attempt"]:
            said.setdefault(plan_of[row["id"]]["pair"], []).append(row["query_text"])
    assert len(said) == 3
    for texts in said.values():
        assert len(texts) == 2 and len(set(texts)) == 1
        assert not first & set(texts)


def test_prompts_of_ones_own_are_copied_into_the_run(tone_yaml: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "repair.jinja2").write_text("{% block user %}Again: {{ error }}{% endblock %}")
    with serving() as server:
        file = tone_yaml(**asking(server, prompts="mine", cache="answers"))
        run(file, tmp_path / "out")
    assert (tmp_path / "out" / "inputs" / "prompts" / "repair.jinja2").read_text().startswith("{% block user %}Again")
    kept = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["script"]
    assert kept["prompts"] == "inputs/prompts"
    assert len(list((tmp_path / "answers").glob("??/*.json"))) > 20
    assert verify(tmp_path / "out") == []


def test_plan_says_what_will_be_asked_and_what_it_costs(tone_yaml: Callable[..., Path], monkeypatch) -> None:
    file = tone_yaml(**asking("http://127.0.0.1:9/v1"))
    figures = json.loads(echat("plan", file, "--json").stdout)["asks"]
    assert figures["requests"] > 8 * 5
    assert figures["cost"] == pytest.approx((figures["prompt_tokens"] + 2 * figures["completion_tokens"]) / 1e6)
    shown = echat("plan", file).stdout
    assert f"the language model: about {figures['requests']:,.0f} requests" in shown
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    refused = echat("plan", tone_yaml(**asking("http://127.0.0.1:9/v1", key_env="NO_SUCH_KEY")))
    assert refused.returncode == 2
    assert "NO_SUCH_KEY is not set" in refused.stderr


@pytest.mark.slow
def test_a_dead_server_is_told_in_a_sentence_by_workers_on_ray_too(
    tone_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    with serving() as server:
        url = server.url
    file = tone_yaml(**asking(url), executor={"kind": "ray"})
    failed = echat_process("build", file, "--out", tmp_path / "out", "--quiet")
    assert failed.returncode == 1
    assert failed.stderr.strip().splitlines()[-1].startswith(f"error: script: the server at {url} does not answer")
