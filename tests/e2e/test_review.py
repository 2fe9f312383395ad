"""Blind listening sheets, read back: agreement of raters, and the gate against them."""

from __future__ import annotations

import csv
import json
import re
import shutil

import pytest
import yaml
from browser import chromium
from conftest import ROOT, echat
from tone_runs import build_tones

from manifests.errors import UserError
from pipeline.inspect import read_documents
from pipeline.report.write import Request, write_report
from pipeline.review.draw import Population, audible, draw, judged
from pipeline.review.read import _measure, kappa, read_review, results_path, wilson
from pipeline.review.sheet import write_sheet
from pipeline.verdict import KEPT, REJECTED
from pipeline.verify import open_finished


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A run with kept dialogues, some rejected for the length of their query, and one for its reply."""
    folder = tmp_path_factory.mktemp("review")
    changes = {"plan": {"quotas": {"emotion": 10, "neutral": 2}}}
    result = build_tones(folder, **changes)
    assert result.statistics["verdict"] == {"kept": 12}
    shards = folder / "out" / "shards" / "current"
    turns = [document["turns"][0] for tar in shards.glob("*.tar") for document in read_documents(tar)]
    longest = sorted(turn["query"]["seconds"] for turn in turns)[7]
    reply = max(turn["reply"]["seconds"] for turn in turns if turn["query"]["seconds"] <= longest)
    limits = {"query_seconds": [0.2, longest], "reply_seconds": [0.2, reply - 0.01]}
    build_tones(folder, **changes, select=limits)
    return folder / "out"


@pytest.fixture
def run(built, tmp_path):
    return shutil.copytree(built, tmp_path / "run", symlinks=True)


def fill(run, folder, rater, answer):
    """Fill a table in; `answer` is given the dialogue, and the answers of one who hears all that was asked for."""
    gate = {item.id: item for item in judged(open_finished(run, ""), run / "select" / "current") if item}
    clips = json.loads((folder / "sheet.json").read_text())["raters"][rater - 1]
    path = folder / f"rater-{rater}.csv"
    rows = list(csv.DictReader(path.read_text().splitlines()))
    for row in rows:
        item = gate[clips[row["clip"]]]
        row.update(answer(item, {"usable": "yes", **item.wanted}))
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_sheet_mixes_kept_and_rejected_and_is_blind(run, tmp_path):
    done = write_sheet(run, tmp_path / "sheet", 2, 8, 3)
    assert done.clips == 8 and 0 < done.rejected < 8
    document = json.loads((tmp_path / "sheet" / "sheet.json").read_text())
    first, second = document["raters"]
    assert set(first.values()) == set(second.values())
    assert list(first.values()) != list(second.values())
    assert not set(first) & set(second)
    for rater, clips in enumerate((first, second), 1):
        page = (tmp_path / "sheet" / f"rater-{rater}.html").read_text()
        assert page.count("data:audio/ogg;base64,") == 8
        assert re.findall(r'data-clip="(\w+)"', page) == list(clips)
        assert not any(name in page for name in clips.values())
        for word in ("rejected", "kept", "disagrees", "requested", "selected"):
            assert word not in page
        rows = list(csv.reader((tmp_path / "sheet" / f"rater-{rater}.csv").read_text().splitlines()))
        assert rows[0] == ["number", "clip", "age", "gender", "emotion", "event", "usable", "note"]
        assert all(row[2:] == [""] * 6 for row in rows[1:])
    assert write_sheet(run, tmp_path / "again", 2, 8, 3) == done
    assert (tmp_path / "again" / "sheet.json").read_bytes() == (tmp_path / "sheet" / "sheet.json").read_bytes()


def test_only_what_can_be_heard_is_on_the_sheet(run):
    drawn, population = draw(open_finished(run, ""), run / "select" / "current", 100, 0)
    assert population.rejected > 1 and population.other > 0
    assert population.kept + population.rejected + population.other == 12
    assert len(drawn) == population.kept + population.rejected
    assert audible(["gender_2_disagrees heard male, asked female"]) and audible(["query_wer 0.7 > 0.6"])
    assert not audible(["reply_wer 0.7 > 0.6"]) and not audible(["query_wer 0.7 > 0.6 (turn 1)"])
    assert not audible(["query_personal email"])


def test_no_text_scripts_the_page_of_a_rater(tmp_path):
    hostile = '<script>document.title="owned"</script><img src=x onerror=alert(1)>'
    bank = yaml.safe_load((ROOT / "tests" / "data" / "golden_bank.yaml").read_text())
    for scenario in bank:
        scenario["query"] = f"{hostile} {scenario['query']}"
    (tmp_path / "bank.yaml").write_text(yaml.safe_dump(bank))
    # None is kept, for what can be heard: so each is on the sheet.
    short = {"query_seconds": [0.1, 0.2]}
    build_tones(tmp_path, plan={"scenarios": "bank.yaml", "quotas": {"neutral": 4}}, select=short)
    assert write_sheet(tmp_path / "out", tmp_path / "sheet", 1, 4, 0).rejected == 4
    page = (tmp_path / "sheet" / "rater-1.html").read_text()
    assert page.count("<script") == 1, "its own"
    assert "<img" not in page
    assert page.count("&lt;script&gt;") == 4
    assert "script-src 'sha256-" in page and "unsafe" not in page.partition("<style>")[0]
    for name in ("rater-1.csv", "sheet.json"):
        assert "script" not in (tmp_path / "sheet" / name).read_text()


def test_raters_who_hear_what_was_asked_make_the_gate_precise(run, tmp_path):
    folder = tmp_path / "sheet"
    write_sheet(run, folder, 2, 100, 0)
    # Both hear every label; of what the gate rejected they call nothing usable.
    for rater in (1, 2):
        fill(run, folder, rater, lambda item, good: good if item.verdict == KEPT else {**good, "usable": "no"})
    found = read_review(folder, run)
    assert found["all"]["precision"][0] == found["all"]["recall"][0] == 1.0
    assert found["agreement"]["emotion"][0]["kappa"] == found["agreement"]["usable"][0]["kappa"] == 1.0
    assert found["labels"]["emotion"]["sad"][0] == found["labels"]["emotion"]["sad"][1] > 0
    # The second calls everything usable: what was rejected was lost, by his ears.
    fill(run, folder, 2, lambda item, good: good)
    found = read_review(folder, run)
    kept, rejected = found["population"]["kept"], found["population"]["rejected"]
    assert found["raters"]["2"]["recall"][0] == pytest.approx(kept / (kept + rejected), abs=1e-4)
    assert found["raters"]["1"]["recall"][0] == found["all"]["recall"][0] == 1.0
    assert found["agreement"]["usable"][0]["kappa"] == 0.0


def test_a_label_that_is_heard_otherwise_costs_precision(run, tmp_path):
    folder = tmp_path / "sheet"
    write_sheet(run, folder, 1, 100, 0)

    def deaf(item, good):
        return {**good, "emotion": "unsure"} if item.wanted.get("emotion") == "sad" else good

    fill(run, folder, 1, deaf)
    found = read_review(folder, run)
    gate = [
        item for item in judged(open_finished(run, ""), run / "select" / "current") if item and item.verdict == KEPT
    ]
    sad = sum(item.wanted.get("emotion") == "sad" for item in gate)
    assert found["all"]["kept_good"] == len(gate) - sad < len(gate)
    assert found["labels"]["emotion"]["sad"][1] == 0
    assert found["agreement"]["emotion"] == []


def test_the_report_shows_it_beside_the_gate_and_says_when_it_is_old(run, tmp_path):
    folder, page = tmp_path / "sheet", run / "report" / "index.html"
    write_report(Request(run, page))
    assert "By ear" not in page.read_text()
    write_sheet(run, folder, 2, 100, 0)
    for rater in (1, 2):
        fill(run, folder, rater, lambda item, good: good)
    result = echat("review", "read", folder, run)
    assert result.returncode == 0, result.stderr
    assert "all of them" in result.stdout and "emotion" in result.stdout
    write_report(Request(run, page))
    text = page.read_text()
    assert "By ear" in text and "all of them" in text and "earlier selection" not in text
    document = json.loads(results_path(run).read_text())
    results_path(run).write_text(json.dumps({**document, "select": "0" * 16}))
    write_report(Request(run, page))
    assert "earlier selection" in page.read_text()
    results_path(run).write_text("{}")
    with pytest.raises(UserError, match="run echat review read again, or delete it"):
        write_report(Request(run, page))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("clip", "klip", "has no column 'clip'"),
        (",,,,,,\n", ",,,bored,,,\n", "row 2: emotion: 'bored' is no answer; use one of neutral, happy,"),
        (",,,,,,\n", ",,,,,maybe,\n", "row 2: usable: 'maybe' is no answer; use one of yes, no"),
        ("\n1,", "\n1,x", "is no clip of this rater"),
    ],
)
def test_a_wrong_table_is_said_with_row_and_column(run, tmp_path, old, new, words):
    write_sheet(run, tmp_path / "sheet", 1, 4, 0)
    path = tmp_path / "sheet" / "rater-1.csv"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(UserError) as error:
        read_review(tmp_path / "sheet", run)
    assert str(error.value).startswith(f"{path}: ") and words in str(error.value)
    assert not results_path(run).exists()


def test_a_damaged_sheet_or_table_is_a_sentence(run, tmp_path):
    write_sheet(run, tmp_path / "sheet", 1, 4, 0)
    table, sheet = tmp_path / "sheet" / "rater-1.csv", tmp_path / "sheet" / "sheet.json"
    assert all(name.startswith("c") for name in json.loads(sheet.read_text())["raters"][0]), "123456e123 is a number"
    text = table.read_text()
    table.write_text(text + "1," + "x" * 200_000 + "\n")
    limit = csv.field_size_limit(131_072)  # Python's own, which libraries raise
    try:
        with pytest.raises(UserError, match="row 6: cannot be read as a table"):
            read_review(tmp_path / "sheet", run)
    finally:
        csv.field_size_limit(limit)
    table.write_text(text)
    for key in ("run", "families", "seed", "raters"):
        document = json.loads(sheet.read_text())
        del document[key]
        (tmp_path / f"no-{key}").mkdir()
        (tmp_path / f"no-{key}" / "sheet.json").write_text(json.dumps(document))
        with pytest.raises(UserError, match=rf"sheet\.json: {key}"):
            read_review(tmp_path / f"no-{key}", run)


def test_spreadsheets_and_spellings_are_understood(run, tmp_path):
    write_sheet(run, tmp_path / "sheet", 1, 4, 0)
    path = tmp_path / "sheet" / "rater-1.csv"
    lines = path.read_text().replace(",", ";").splitlines()
    lines[1] = lines[1].replace(";;;;;;", ";;F;Anger ;throat clear;YES;")
    path.write_text("\ufeff" + "\r\n".join(lines) + "\r\n")
    found = read_review(tmp_path / "sheet", run)
    assert sum(counts[0] for labels in found["labels"].values() for counts in labels.values()) >= 2


def test_open_tables_other_runs_and_folders_that_hold_something_are_refused(run, tmp_path):
    folder = tmp_path / "sheet"
    write_sheet(run, folder, 2, 4, 0)
    with pytest.raises(UserError, match="no table is filled in"):
        read_review(folder, run)
    with pytest.raises(UserError, match="is not an empty folder"):
        write_sheet(run, folder, 2, 4, 0)
    (folder / "rater-2.csv").unlink()
    with pytest.raises(UserError, match=r"rater-2\.csv: cannot be read"):
        read_review(folder, run)
    document = json.loads((folder / "sheet.json").read_text())
    (folder / "sheet.json").write_text(json.dumps({**document, "run": "other"}))
    with pytest.raises(UserError, match="is a sheet of the run 'other'"):
        read_review(folder, run)
    with pytest.raises(UserError, match="is not the sheet"):
        read_review(tmp_path / "none", run)


def test_figures_are_those_of_the_books():
    # Fleiss, Statistical Methods for Rates and Proportions: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no give 0.4.
    left, right = "y" * 25 + "n" * 25, "y" * 20 + "n" * 5 + "y" * 10 + "n" * 15
    assert kappa(list(left), list(right)) == pytest.approx(0.4)
    assert kappa([], []) is kappa(["a"], ["a"]) is None
    share, low, high = wilson(81, 263) or (0, 0, 0)
    assert (share, low, high) == pytest.approx((0.308, 0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I
    assert wilson(0, 0) is None


def test_recall_weighs_each_draw_by_what_it_stands_for():
    from pipeline.review.draw import Judged

    gate = {f"k{n}": Judged(f"k{n}", 0, KEPT, {}) for n in range(10)}
    gate |= {f"r{n}": Judged(f"r{n}", 0, REJECTED, {}) for n in range(10)}
    good = {name: name.startswith("k") or name in ("r0", "r1") for name in gate}
    found = _measure(gate, good, Population(900, 100, 0))
    assert found["precision"][0] == 1.0
    assert found["recall"][0] == pytest.approx(900 / (900 + 0.2 * 100), abs=1e-4)
    assert found["recall"][1] < found["recall"][0] < found["recall"][2]
    assert _measure(gate, {}, Population(900, 100, 0))["recall"] is None


def test_a_browser_plays_the_clips_keeps_answers_and_saves_a_table_that_reads(run, tmp_path):
    folder = tmp_path / "sheet"
    write_sheet(run, folder, 1, 4, 0)
    with chromium() as opened:
        view, said, _ = opened(folder / "rater-1.html")
        length = view.evaluate(
            """() => new Promise((done, fail) => {
                const audio = document.querySelector('audio');
                audio.onloadedmetadata = () => done(audio.duration); audio.onerror = fail; audio.load();
            })"""
        )
        assert length > 0.2
        first = view.locator("fieldset").first
        for name, value in (("emotion", "sad"), ("age", "adult"), ("gender", "female"), ("event", "none")):
            first.locator(f"select[name={name}]").select_option(value)
        first.locator("select[name=usable]").select_option("yes")
        first.locator("input[name=note]").fill('a "note", with commas')
        assert view.locator("#done").text_content() == "1 of 4 answered"
        view.reload()
        assert view.locator("#done").text_content() == "1 of 4 answered"
        with view.expect_download() as saved:
            view.click("#save")
        assert saved.value.suggested_filename == "rater-1.csv"
        saved.value.save_as(folder / "rater-1.csv")
        assert said == []
        wide = view.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert wide[0] <= wide[1]
    rows = list(csv.DictReader((folder / "rater-1.csv").read_text().splitlines()))
    assert rows[0]["emotion"] == "sad" and rows[0]["note"] == 'a "note", with commas'
    assert read_review(folder, run)["raters"]["1"]["judged"] <= 1
