"""The page of an ablation: its verdicts, its baselines, what it plays, and that no text can script it."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from browser import chromium
from tones import tones
from typer.testing import CliRunner

from manifests.files import sha256
from manifests.ids import canonical_json
from model.ablation.analyse import analyse
from model.ablation.design import Ablation
from model.ablation.job import Job
from pipeline.cli import app
from pipeline.cli_ablate import show_found

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)> & "quotes" \' ${7*7} {{7*7}} $\\alpha$'
ERRORS = {"clean": 0.05, "again": 0.05, "noisy": 0.45}
SEEDS, ITEMS = 3, 60
LABELS = ("happy", "sad")


def manifest() -> Ablation:
    return Ablation.model_validate({
        "name": "noise", "baseline": "clean", "seeds": SEEDS, "train": {},
        "evaluate": {"held": {"corpus": "corpus", "families": ["emotion"]}},
        "metrics": ["emotion.uar", "emotion.accuracy"],
        "variants": {"clean": {}, "again": {"copy": 1}, "noisy": {"about": HOSTILE}},
        "trends": {"noise": {"levels": {"clean": 0, "noisy": 0.4}}}, "map": {"variant": "noisy", "rows": 12},
    })  # fmt: skip


def record(item: int, said: str) -> dict[str, Any]:
    truth = LABELS[item % 3 == 0]
    return {
        "item": f"{item:03}.flac", "speaker": "e", "source": "real", "task": "none", "labels": {"emotion": truth},
        "said": {"emotion": said}, "odds": {"emotion": dict.fromkeys(LABELS, 0.5)},
        "values": {"emotion.correct": [float(said == truth), 1.0]},
    }  # fmt: skip


def job(folder: Path, variant: str, seed: int) -> Job:
    """A training as one leaves it, its answers wrong by chance."""
    rng = np.random.default_rng([list(ERRORS).index(variant), seed])
    key = f"{list(ERRORS).index(variant):08x}{seed:08x}"
    place = folder / "out" / "jobs" / key
    place.mkdir(parents=True)
    answers = [record(item, LABELS[(item % 3 == 0) ^ (rng.random() < ERRORS[variant])]) for item in range(ITEMS)]
    files = {
        "items-held.jsonl": answers, "silence-held.jsonl": [record(item, "sad") for item in range(ITEMS)],
        "transcript-held.jsonl": [record(item, "happy") for item in range(ITEMS)],
        **({"map.jsonl": list(looks(folder / "corpus"))} if variant == "noisy" else {}),
    }  # fmt: skip
    for name, rows in files.items():
        (place / name).write_bytes(b"".join(canonical_json(row) + b"\n" for row in rows))
    result = {
        "key": key, "train_items": 40, "unused": 0, "seconds": {"train": 1.0, "judge": 1.0},
        "curve": [[10, 2.0 + seed / 10, None], [20, 1.0, None], [30, 0.5, 0.8 + seed / 10]],
        "files": {name: sha256(place / name) for name in files},
    }  # fmt: skip
    (place / "result.json").write_bytes(canonical_json(result))
    data = {"corpus": str(folder / "corpus"), "shards": None, "split": "train"}
    return Job(key, {"train": {"data": data}})


def looks(corpus: Path) -> Any:
    """A data map; each fourth row has a wrong label and is not believed, and the first row's recording is gone."""
    items = ["gone.flac", *sorted(path.name for path in corpus.glob("*.flac"))]
    for number, item in enumerate(items):
        wrong = number % 4 == 0
        own = 0.1 if wrong else 0.9
        yield {
            "item": item, "family": "emotion", "label": "happy", "looks": 3, "confidence": own, "margin": 2 * own - 1,
            "score": 2 * own - 1, "loss": 0.5, "spread": 0.1, "odds": {"happy": own, "sad": 1 - own},
            **({"truth": "sad"} if wrong else {}),
        }  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("page")
    tones(folder / "corpus", "ab", each=5)
    ablation = manifest()
    jobs = {name: [job(folder, name, seed) for seed in range(SEEDS)] for name in ablation.variants}
    out = folder / "out"
    told = analyse(ablation, jobs, out, {jobs["again"][0].key: HOSTILE})
    (out / "ablation.yaml").write_text("name: noise\n")
    (out / "ablation.json").write_bytes(canonical_json(told))
    return out, told


def report(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


@pytest.fixture(scope="module")
def page(found: tuple[Path, dict[str, Any]]) -> Path:
    result = report(found[0])
    assert result.exit_code == 0, result.output
    assert "12 rows to hear" in result.output and "1 recordings were not found" in result.output
    return found[0] / "report" / "index.html"


def words(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())


def test_every_mean_has_its_baselines(found: tuple[Path, dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    out, told = found
    uar, accuracy = (metric["variants"]["noisy"]["baselines"] for metric in told["metrics"])
    assert uar["majority"] == uar["silence"] == 0.5
    assert accuracy["majority"] == pytest.approx(2 / 3)
    assert accuracy["silence"] == pytest.approx(1 / 3), "silence sounds sad"
    assert accuracy["transcript"] == pytest.approx(2 / 3), "and the words happy"
    rng, hits = np.random.default_rng(0), []
    truth = np.array([LABELS[item % 3 == 0] for item in range(ITEMS)])
    for seed in range(SEEDS):
        lines = (out / "jobs" / f"{2:08x}{seed:08x}" / "items-held.jsonl").read_text().splitlines()
        said = np.array([json.loads(line)["said"]["emotion"] for line in lines])
        hits += [np.mean(said == rng.permutation(truth)) for _ in range(400)]
    assert accuracy["shuffled"] == pytest.approx(np.mean(hits), abs=0.01)
    show_found(json.loads((out / "ablation.json").read_bytes()))
    table = capsys.readouterr().out
    assert all(name in table for name in ("majority", "shuffled", "silence", "transcript"))
    assert f"{accuracy['shuffled']:.3f}" in table


def test_verdicts_come_first_and_numbers_are_those_found(found: tuple[Path, dict[str, Any]], page: Path) -> None:
    _, told = found
    text = page.read_text()
    first = words(text[text.index('id="verdicts"') : text.index('id="factors"')])
    for metric in told["metrics"]:
        assert f"{metric['metric']} – hurts : noisy; no evidence : again." in first
        change = metric["differences"]["noisy"]
        assert change["word"] == "hurts"
        assert f"hurts worse than clean: {change['sentence'].removeprefix('hurts: ')}" in first
        assert metric["differences"]["again"]["sentence"].removeprefix("no evidence: ") in first
        mean = metric["variants"]["noisy"]
        row = f"noisy {mean['value']:.3f} [{mean['low']:.3f}, {mean['high']:.3f}] {mean['baselines']['majority']:.3f}"
        assert row in words(text)
    assert "or more would have been found; " in first  # and how much more data would tell
    wrong = told["map"]["planted"]
    assert f"{wrong['k']} wrong labels were planted" in words(text)
    assert text.count('<svg class="wave"') == text.count("<audio") == 11
    assert text.count("The recording was not found.") == 1
    # Answers of the seeds in sum: 3 seeds x 40 happy and 20 sad items.
    matrix = text[text.index("noisy, held, emotion") :].split("</table>")[0]
    assert sum(int(number) for number in re.findall(r">(\d+)</td>", matrix)) == SEEDS * ITEMS


def test_no_text_scripts_the_page_and_its_sounds_are_sounds(page: Path) -> None:
    text = page.read_text()
    assert text.count("<script") == 1 and "<img src=x" not in text
    assert "&lt;script&gt;" in text  # the hostile words are there, as text
    assert not re.search(r"<[^>]*\son\w+=", re.sub(r'"[^"]*"', '""', text))
    addresses = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert all(address.startswith(("#", "data:")) for address in addresses)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy and "default-src 'none'" in unescape(policy[1]) and "unsafe" not in policy[1]
    for address in (address for address in addresses if address.startswith("data:audio")):
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(address.partition(",")[2])))
        assert len(samples) / rate == pytest.approx(0.4, abs=0.02)
        assert abs(samples).max() > 0.005


def test_the_same_ablation_gives_the_same_page(found: tuple[Path, dict[str, Any]], page: Path, tmp_path: Path) -> None:
    assert report(found[0], "--out", tmp_path / "again.html").exit_code == 0
    assert (tmp_path / "again.html").read_bytes() == page.read_bytes()


def copy(out: Path, to: Path, change: Any = None) -> Path:
    shutil.copytree(out, to, ignore=shutil.ignore_patterns("report"))
    if change is not None:
        told = json.loads((to / "ablation.json").read_bytes())
        change(told)
        (to / "ablation.json").write_text(json.dumps(told))
    return to


def test_what_is_gone_is_said(found: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    there = copy(found[0], tmp_path / "alone", lambda told: told["map"]["data"].update(corpus=str(tmp_path / "moved")))
    (there / "jobs" / f"{0:08x}{0:08x}" / "items-held.jsonl").write_text("{}\n")  # not what its result says
    result = report(there, "--json")
    assert result.exit_code == 0, result.output
    assert re.search("12 recordings were not found.*moved", json.loads(result.stdout)["not_found"])
    text = (there / "report" / "index.html").read_text()
    assert "1 trainings have no whole result here" in text
    assert "moved" not in text, "a page tells nothing of the folders of a machine"


def test_a_recording_outside_of_the_corpus_is_not_put_in(found: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    def change(told: dict[str, Any]) -> None:
        told["map"]["data"]["corpus"] = str(tmp_path / "corpus")
        told["map"]["rows"] = [{**told["map"]["rows"][0], "item": "../private.flac"}]

    shutil.copytree(found[0].parent / "corpus", tmp_path / "corpus")
    shutil.copy(next((tmp_path / "corpus").glob("*.flac")), tmp_path / "private.flac")
    with (tmp_path / "corpus" / "labels.csv").open("a") as lines:
        lines.write("../private.flac,a,female,adult,sad,\n")
    result = report(copy(found[0], tmp_path / "outside", change))
    assert result.exit_code == 0 and "leads out of the corpus" in result.output
    assert "<audio" not in (tmp_path / "outside" / "report" / "index.html").read_text()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda told: told["variants"][0]["jobs"].append("../../etc"), "is no key of a training"),
        (lambda told: told.pop("metrics"), "is not what this version writes"),
        (lambda told: told["map"]["rows"].append(None), "is not what this version writes"),
    ],
)
def test_a_damaged_result_is_refused_with_a_sentence(
    found: tuple[Path, dict[str, Any]], tmp_path: Path, change: Any, said: str
) -> None:
    there = copy(found[0], tmp_path / "damaged", change)
    result = report(there)
    assert result.exit_code == 2 and said in result.output
    assert not (there / "report").exists()


def test_an_unfinished_ablation_and_options_of_runs_are_refused(
    found: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    there = copy(found[0], tmp_path / "half")
    result = report(there, "--full")
    assert result.exit_code == 2 and "--out and --budget are for its page" in result.output
    (there / "ablation.json").unlink()
    result = report(there)
    assert result.exit_code == 2 and "not finished; run echat ablate again" in result.output


def test_a_browser_shows_verdicts_plays_and_asks_nobody(page: Path) -> None:
    with chromium() as opened:
        for scheme in ("light", "dark"):
            view, said, asked = opened(page, color_scheme=scheme)
            assert view.title() == "Ablation noise"
            # The verdicts stand in the first screen of a phone.
            for word in ("hurts", "no evidence"):
                box = view.locator("#verdicts b", has_text=word).first.bounding_box()
                assert box and box["y"] + box["height"] < 844
            broken = "[...document.images].filter((image) => !image.complete || !image.naturalWidth).length"
            assert view.evaluate(broken) == 0
            assert view.evaluate("document.images.length") == 2 + 2 + 3 + 1
            wide = view.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
            assert wide[0] <= wide[1]
            assert said == []
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
        view.keyboard.press("Tab")
        assert view.evaluate("document.activeElement.textContent") == "Skip to the verdicts"
        ended = view.evaluate(
            """async () => {
                const [first, second] = document.querySelectorAll("#rows audio");
                first.muted = second.muted = true;
                await first.play();
                await second.play();
                const paused = first.paused;
                await new Promise((done, fail) => { second.onended = done; second.onerror = fail; });
                return [paused, second.duration];
            }"""
        )
        assert ended[0], "one sound at a time"
        assert ended[1] == pytest.approx(0.4, abs=0.05)
        assert said == []
