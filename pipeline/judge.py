"""A language model as the judge of replies: content and style, each from 1 to 5, which become 0 to 100.

After ParaS2S (arXiv 2511.08723), which grades the two apart. The judge reads; it does not hear: style is judged by the
words and by the tone that the model says it speaks in. Answers come through the cache of `pipeline.llm`, so a second
judgement of the same replies asks nothing. What cannot be read after a repair is counted and kept, and has no score.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from manifests.errors import UserError, from_pydantic
from manifests.ids import seed_of
from manifests.labels import CUES, NONE, display
from manifests.prompts import JUDGED, Prompts, load_prompts, quoted, shown_cues
from manifests.yamlfile import load_yaml
from model.evaluate.run import BASELINES, Progress, counted, read_records, record_file, write_records
from pipeline.llm.answers import BadAnswerError, ScoreForm, read_answer
from pipeline.llm.cache import Answer, Cache, Request
from pipeline.llm.client import Client
from pipeline.llm.server import Server, ServerError
from pipeline.writers.openai import OpenAIConfig

DIMENSIONS = ("content", "style")
_BATCH = 128  # records judged side by side at most; memory stays flat
_SENT_BACK = 2000  # characters of an answer that the judge is shown again
_KEYS = (
    "base_url", "model", "model_revision", "key_env", "max_tokens", "json_mode", "send_seed", "extra_body", "prompts",
    "concurrency", "timeout_s", "retries", "backoff_s", "requests_per_minute", "tokens_per_minute", "price_in",
    "price_out", "cache",
)  # fmt: skip

Record = Mapping[str, Any]


def load_judge(file: Path) -> OpenAIConfig:
    """Read JUDGE.yaml: those keys of `script: {engine: openai}` that say whom to ask and how (docs/llm.md).

    Raises:
        UserError: A key is unknown or wrong, or the key of the server is not in the environment; names the file.
    """
    document = load_yaml(file)
    if not isinstance(document, dict):
        raise UserError(f"{file}: a judge is a mapping of keys, such as base_url and model")
    unknown = [str(key) for key in document if key not in _KEYS]
    if unknown:
        raise UserError(f"{file}: {unknown[0]}: is not a key of a judge: use {', '.join(_KEYS)}")
    for key in ("cache", "prompts"):
        if isinstance(document.get(key), str):
            document[key] = str((file.parent / document[key]).resolve())
    try:
        config = OpenAIConfig.model_validate({"engine": "openai", **document})
    except ValidationError as error:
        raise from_pydantic(file, error) from error
    for problem in config.problems():
        raise UserError(f"{file}: {problem.what}; {problem.fix}")
    load_prompts("en", config.prompts, JUDGED)
    return config


class Judge:
    """Judges records that have a reply, side by side.

    Attributes:
        served: Names that the server gave its model.
    """

    def __init__(self, config: OpenAIConfig, file: Path, out: Path) -> None:
        """Ready to ask; `out` takes the cache where the config names none."""
        server = Server(
            config.base_url, config.key(), config.concurrency, config.timeout_s, config.retries, config.backoff_s,
            config.requests_per_minute, config.tokens_per_minute, str(file), "evaluate",
        )  # fmt: skip
        self.config, self.server = config, server
        self.cache = Cache(config.cache or out / "cache" / "llm")
        self.served: set[str] = set()
        self.prompts: dict[str, str] = {}
        self.counts = dict.fromkeys(("scored", "unreadable", "refused", "no_reply"), 0)
        self.spent: dict[str, Any] = {}

    def judge(self, records: Iterable[Record]) -> Iterator[dict[str, Any]]:
        """`{"item", "values", "judge"}` of each record, in order.

        `values` holds `judge.content` and `judge.style` where there is a score; `judge` the score and reason of each
        dimension, or why there is none, with the answer.

        Raises:
            WorkFailedError, UserError: See `Client.ask`; what was answered is in the cache.
        """
        with asyncio.Runner() as runner:
            client = Client(self.server, self.cache)
            try:
                queue = iter(records)
                while some := tuple(islice(queue, _BATCH)):
                    yield from runner.run(self._batch(client, some))
            finally:
                counts = client.account.take()
                cost = self.config.cost(counts["prompt_tokens"], counts["completion_tokens"])
                for name, value in {**counts, "cost": round(cost, 6)}.items():
                    self.spent[name] = self.spent.get(name, 0) + value
                runner.run(client.close())

    def about(self) -> dict[str, Any]:
        """Who judged, with which prompts, and what it took."""
        config = self.config
        return {
            "model": config.model, "model_revision": config.model_revision, "served": sorted(self.served),
            "prompts": dict(sorted(self.prompts.items())), "scale": "1 to 5, mapped to 0 to 100", **self.counts,
            "spent": self.spent,
        }  # fmt: skip

    async def _batch(self, client: Client, records: tuple[Record, ...]) -> list[dict[str, Any]]:
        free = asyncio.Semaphore(2 * self.config.concurrency)

        async def one(record: Record) -> dict[str, Any]:
            async with free:
                return await self._record(client, record)

        tasks = [asyncio.create_task(one(record)) for record in records]
        try:
            return list(await asyncio.gather(*tasks))
        except BaseException:
            for task in tasks:
                task.cancel()
            await client.stop()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def _record(self, client: Client, record: Record) -> dict[str, Any]:
        values, told = {}, {}
        for dimension in DIMENSIONS:
            told[dimension] = await self._score(client, record, dimension)
            if "score" in told[dimension]:
                values[f"judge.{dimension}"] = [(told[dimension]["score"] - 1) * 25.0, 1.0]
        return {"item": record["item"], "values": values, "judge": told}

    async def _score(self, client: Client, record: Record, dimension: str) -> dict[str, Any]:
        """The score of one reply, or why there is none."""
        reply = record["reply"]
        if not reply["text"].strip():  # silence answers nothing; nobody needs to be asked
            self.counts["no_reply"] += 1
            return {"score": 1, "reason": "there is no reply"}
        prompts = load_prompts(reply["language"], self.config.prompts, JUDGED)
        self.prompts[reply["language"]] = prompts.revision
        messages = prompts.render(dimension, **_values(reply, prompts))
        request = self._request(dimension, messages, record["item"])
        try:
            answer = await client.ask(request)
            form, problem = _read(answer)
            if form is None:
                client.repaired()
                sent = {"role": "assistant", "content": answer.text[:_SENT_BACK] or "{}"}
                again = [*messages, sent, *prompts.render("repair", error=quoted(problem))]
                answer = await client.ask(self._request(dimension, again, record["item"]))
                form, problem = _read(answer)
        except ServerError as error:
            self.counts["refused"] += 1
            return {"problem": f"refused: {error}", "answer": ""}
        self.served.add(answer.model)
        if form is None:
            self.counts["unreadable"] += 1
            return {"problem": f"unreadable: {problem}", "answer": answer.text}
        self.counts["scored"] += 1
        return {"score": form.score, "reason": form.reason}

    def _request(self, what: str, messages: list[dict[str, str]], item: str) -> Request:
        names = ("max_tokens", "json_mode", "send_seed")
        parameters = {"temperature": 0.0, **{name: getattr(self.config, name) for name in names}}
        if self.config.extra_body:
            parameters["extra_body"] = self.config.extra_body
        seed = seed_of(item, "evaluate", what) % 2**31
        return Request(
            f"judge {what}", self.config.model, self.config.model_revision, tuple(messages), parameters, seed
        )


def judge_folder(
    file: Path, out: Path, progress: Progress = lambda what, done, total: None
) -> tuple[dict[str, Any], dict[str, str]]:
    """Judge the replies of an evaluation, and those of the baseline that answers too.

    Writes `judge-<given>.jsonl` beside the records, each whole.

    Returns:
        Who judged and what it took; the files of scores by what the model was given.
    """
    config, files = load_judge(file), {}
    judge = Judge(config, file, out)
    for given in ("audio", *BASELINES):
        path = out / record_file(given)
        if path.is_file() and any("reply" in record for record in islice(read_records(path), 1)):
            total = sum(1 for _ in read_records(path))
            files[given] = f"judge-{given}.jsonl"
            scores = judge.judge(read_records(path))
            write_records(out / files[given], counted(scores, f"judge {given}", total, progress))
    return judge.about(), files


def _values(reply: Mapping[str, Any], prompts: Prompts) -> dict[str, Any]:
    """What the templates are given of a record; texts as quoted data."""
    cues = {family: reply["planned"]["cues"][family] for family in CUES if family in reply["planned"]["cues"]}
    spoken = reply["emotion"]
    return {
        "query": quoted(reply["query"]),
        "reply": quoted(reply["text"]),
        "history": [{"query": quoted(query), "reply": quoted(said)} for query, said in reply["history"]],
        "cues": shown_cues(cues, prompts.language),
        "strength": 0.0,
        "reply_emotion": "" if spoken == NONE else display("reply_emotion", spoken, prompts.language),
    }


def _read(answer: Answer) -> tuple[ScoreForm | None, str]:
    try:
        return read_answer(ScoreForm, answer.text, answer.finish), ""
    except BadAnswerError as error:
        return None, str(error)
