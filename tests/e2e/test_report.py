"""The page about a run: what it says, what it plays, and that no text can script it."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
from html.parser import HTMLParser

import pytest
import soundfile
import yaml
from browser import chromium
from conftest import CHAOS, ROOT, SUPPORT, echat, merged

from manifests.run import load_run
from pipeline.build import build
from pipeline.report.clips import diff, waveform
from pipeline.report.gather import NUM_BINS, Histogram
from pipeline.report.write import Request, write_report

HOSTILE = '<script>document.title="owned"</script><img src=x onerror=alert(1)> & "quotes" \' ${7*7} {{7*7}}'


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Tones with rejected and quarantined dialogues, and with texts that try to script the page."""
    folder = tmp_path_factory.mktemp("report")
    bank = yaml.safe_load((ROOT / "tests" / "data" / "golden_bank.yaml").read_text())
    for scenario in bank[::2]:
        scenario["query"] = HOSTILE.replace("{", "(").replace("}", ")") + " " + scenario["query"]
    (folder / "bank.yaml").write_text(yaml.safe_dump(bank))
    base = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())
    changes = {"plan": {"scenarios": "bank.yaml"}, "select": {"reply_seconds": [0.2, 6.2]}}
    (folder / "run.yaml").write_text(yaml.safe_dump(merged(merged(base, CHAOS), changes)))
    chaos = folder / "chaos"
    chaos.mkdir()
    (chaos / "fault").write_text(json.dumps({"kind": "raise", "one_in": 9}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECHAT_CHAOS", str(chaos))
        patch.syspath_prepend(str(SUPPORT))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
        out = folder / "out"
        result = build(load_run(folder / "run.yaml"), folder / "run.yaml", out, quiet=True)
        verdicts = result.statistics["verdict"]
        assert all(verdicts.get(name) for name in ("kept", "rejected", "quarantined")), verdicts
        yield out, result


@pytest.fixture(scope="module")
def page(run):
    out, _ = run
    written = write_report(Request(out, out / "report" / "index.html"))
    assert written.page == out / "report" / "index.html"
    assert written.silent == 0
    return written.page


class Reader(HTMLParser):
    """Cards by verdict and label, sounds, scripts, and every address that the page names."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cards, self.audio, self.addresses, self.handlers = [], [], [], []
        self.scripts = self.images = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.scripts += tag == "script"
        self.images += tag == "img"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.addresses += [values[name] for name in ("src", "href") if name in values]
        if "data-verdict" in values:
            self.cards.append(values)
        if tag == "audio":
            self.audio.append(values["src"])


def test_every_label_and_verdict_has_a_dialogue_to_hear(run, page):
    _, result = run
    reader = Reader(page.read_text())
    shown = {(card["data-task"], card["data-label"], card["data-verdict"]) for card in reader.cards}
    made = {
        (task, label, verdict)
        for task, labels in result.statistics["task"].items()
        for label, verdicts in labels.items()
        for verdict, number in verdicts.items()
        if number
    }
    assert shown == made
    assert reader.audio
    for address in reader.audio:
        kind, _, data = address.partition(",")
        assert kind == "data:audio/ogg;base64"
        samples, rate = soundfile.read(io.BytesIO(base64.b64decode(data)))
        assert rate in (8000, 12000, 16000, 24000, 48000)
        assert len(samples) > rate / 5
        assert abs(samples).max() > 0.01


def test_the_page_stands_alone_and_no_text_scripts_it(page):
    text = page.read_text()
    reader = Reader(text)
    assert reader.scripts == 1
    assert reader.handlers == []
    assert all(address.startswith(("#", "data:")) for address in reader.addresses)
    assert "&lt;script&gt;" in text  # the hostile query is there, as text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]


def test_the_counts_of_the_page_are_those_of_the_run(run, page):
    _, result = run
    verdicts = result.statistics["verdict"]
    text = " ".join(re.sub(r"<[^>]+>", " ", page.read_text()).split())
    assert f"{result.planned} planned = {verdicts['kept']} kept + {verdicts['rejected']} rejected" in text
    for reason in result.statistics["reason"]:
        assert reason in text


def test_the_same_run_gives_the_same_page(run, page, tmp_path):
    again = write_report(Request(run[0], tmp_path / "again.html"))
    assert again.page.read_bytes() == page.read_bytes()


def test_a_budget_is_kept_and_says_what_is_silent(run, tmp_path):
    written = write_report(Request(run[0], tmp_path / "small.html", per_cell=3, budget_mb=1.6))
    assert written.size < 1.6e6
    assert written.silent > 0
    text = written.page.read_text()
    assert "did not fit" in text
    # The first dialogue of every label is heard before the second of any.
    cards = text.split("<article")[1:]
    heard = [("<audio" in card, re.search(r'data-task="(\w+)" data-label="([^"]+)"', card)[0]) for card in cards]
    first = {label for sound, label in heard if sound}
    assert len(first) > len({label for _, label in heard}) / 2


def test_the_folder_form_has_every_dialogue_and_its_sounds(run, tmp_path):
    out, result = run
    written = write_report(Request(out, tmp_path / "full", full=True))
    assert written.shown == result.planned
    pages = sorted((tmp_path / "full").glob("*.html"))
    cards = [card for page in pages if page.name != "index.html" for card in Reader(page.read_text()).cards]
    assert len(cards) == result.planned
    for page in pages:
        reader = Reader(page.read_text())
        for address in (*reader.audio, *(a for a in reader.addresses if a.endswith(".html"))):
            assert (tmp_path / "full" / address).is_file()
    again = write_report(Request(out, tmp_path / "full", full=True))
    assert again.shown == written.shown


def test_what_cannot_be_reported_is_said_in_a_sentence(run, tmp_path):
    for folder, words in ((tmp_path, "is not a run folder"), (_unfinished(run[0], tmp_path), "not finished")):
        result = echat("report", folder)
        assert result.returncode == 2
        assert words in result.stderr
        assert "Traceback" not in result.stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    (tmp_path / "mine" / "index.html").write_text("my own site")
    result = echat("report", run[0], "--full", "--out", tmp_path / "mine")
    assert result.returncode == 2
    assert "is no report" in result.stderr
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def _unfinished(out, tmp_path):
    copy = tmp_path / "half"
    shutil.copytree(out, copy, symlinks=True)
    (copy / "shards" / "current").unlink()
    return copy


def test_a_browser_plays_filters_and_asks_nobody(run, page, tmp_path):
    with chromium() as opened:
        view, said, asked = opened(page)
        assert view.title() == "Run tone"
        number = view.locator("#cards .card:visible").count()
        assert number == len(Reader(page.read_text()).cards) - view.locator(".pair .card").count()
        view.select_option("select[name=verdict]", "rejected")
        rejected = view.locator("#cards .card:visible").count()
        assert 0 < rejected < number
        assert view.locator("#shown").text_content() == f"{rejected} of {number} shown"
        view.fill("input[name=q]", "reply_seconds")
        assert 0 < view.locator("#cards .card:visible").count() <= rejected
        view.fill("input[name=q]", "no such words anywhere")
        assert view.locator("#cards .card:visible").count() == 0
        view.click("button[type=reset]")
        view.wait_for_function(f"document.getElementById('shown').textContent.startsWith('{number} of')")
        ended = view.evaluate(
            """async () => {
                const audio = document.querySelector('#cards audio');
                audio.muted = true;
                await audio.play();
                audio.playbackRate = 4;
                await new Promise((done, fail) => { audio.onended = done; audio.onerror = fail; });
                return [audio.currentTime, audio.duration];
            }"""
        )
        assert ended[0] == pytest.approx(ended[1], abs=0.1)
        assert ended[1] > 0.2
        wide = view.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1]  # readable on a phone: nothing sticks out
        write_report(Request(run[0], tmp_path / "full", full=True))
        view.goto((tmp_path / "full" / "gender-male-1.html").as_uri())
        seconds = view.evaluate(
            """() => new Promise((done, fail) => {
                const audio = document.querySelector('#cards audio');
                audio.onloadedmetadata = () => done(audio.duration); audio.onerror = fail; audio.load();
            })"""
        )
        assert seconds > 0.2
        assert said == []
        assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_a_diff_names_what_was_lost_and_added():
    assert diff("I lost 2 keys today", "i lost two knees", "en") == (
        ("same", "i lost two"),
        ("lost", "keys today"),
        ("added", "knees"),
    )
    assert diff("", "", "en") == ()


def test_values_outside_the_bins_count_in_the_outer_ones():
    data = Histogram("x", "s", 0.0, 1.0)
    for value in (-5.0, 0.0, 0.999, 1.0, 70.0):
        data.add(value, True)
    data.add(None, True)
    data.add(float("nan"), False)
    assert (data.kept[0], data.kept[NUM_BINS - 1]) == (2, 3)
    assert sum(data.kept) + sum(data.other) == 5


def test_a_waveform_of_nothing_is_drawn_too():
    import numpy as np

    assert waveform(np.zeros(0)).count("M") == waveform(np.ones(7)).count("M") == 120
