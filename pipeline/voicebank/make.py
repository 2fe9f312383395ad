"""From corpora to a bank of voices.

    voices.csv     a row a voice, that is a person, in the form of `plan.voices`
    prompts.csv    a row a prompt: its voice, labels, words, licence, consent, sha256, and what the engines heard
    prompts/*.flac the files of the corpora, byte for byte
    bank.yaml      corpora, licences, gates and engines
    report.json    how many clips passed each gate, in order and alone
    listen.html    a table with the prompts to listen to

Of every clip a record of about 2 kB is kept in memory until the best are chosen; its sound is not.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from manifests.errors import UserError
from manifests.files import fsync, sha256, write_atomic, writing
from manifests.voices import VoiceTable
from pipeline.corpus import About, Corpus, read_about, read_corpus
from pipeline.enrol import Progress, silent
from pipeline.ingest.writer import check_folders, new_folder
from pipeline.registry import load_plugins
from pipeline.voicebank.choose import Bank, Prompt, choose
from pipeline.voicebank.config import BankConfig
from pipeline.voicebank.gates import Case, Person, judge
from pipeline.voicebank.hear import Listener, Panel
from pipeline.voicebank.memory import Memory
from pipeline.voicebank.page import write_page
from pipeline.voicebank.tally import Tally

FORMAT = 1
PROMPTS = "prompts"
VOICES_CSV, PROMPTS_CSV, ABOUT, REPORT, PAGE = "voices.csv", "prompts.csv", "bank.yaml", "report.json", "listen.html"


def make_bank(
    folders: Sequence[Path],
    out: Path,
    config: BankConfig,
    file: Path | str,
    memory: Memory | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Pick the prompts of some corpora; the folder appears whole, or not at all.

    Args:
        folders: That `echat ingest` made.
        file: Of the config, for errors.
        memory: Of what engines have heard before.

    Returns:
        What is written to `report.json`.

    Raises:
        UserError: A folder is no corpus, an engine cannot run, no clip passes all gates, or `out` is in the way.
    """
    corpora = _corpora(folders, out)
    load_plugins(config.plugins, file)
    panel, memory = Panel(config, file), memory or Memory()
    tally = Tally(config.gates)
    candidates: list[Prompt] = []
    known: dict[str, str] = {}
    for about, corpus in corpora:
        listener = Listener(panel, config, corpus, known, memory, progress)
        people = _people(corpus)
        for heard in listener.heard():
            person = people[heard.entry.speaker]
            case = Case(heard.entry, heard.fault, heard.hearing, person, config, panel, listener.trained)
            outcomes = judge(case)
            if tally.add(about.name, heard.entry, outcomes):
                candidates.append(Prompt.of(about, case, outcomes))
    if not candidates:
        raise UserError(f"{', '.join(map(str, folders))}: no clip passes all gates: {tally.sentence()}")
    bank = choose(candidates, config)
    report = {
        "version": FORMAT,
        "corpora": [_stated(about) for about, _ in corpora],
        "publish": all(about.publish for about, _ in corpora),
        "config": config.model_dump(mode="json"),
        "off": [gate for gate in tally.all_gates if gate not in config.gates],
        "engines": panel.document(),
        **tally.document(),
        **bank.document(),
    }
    with new_folder(out, PROMPTS) as folder:
        _write(folder, out, bank, report, {entry.sha256: entry.path for _, one in corpora for entry in one.clips})
    return report


def _corpora(folders: Sequence[Path], out: Path) -> list[tuple[About, Corpus]]:
    found: dict[str, tuple[About, Corpus]] = {}
    for folder in folders:
        check_folders(folder, out)
        about, corpus = read_about(folder), read_corpus(folder)
        if about.name in found:
            raise UserError(f"{folder}: another corpus is called {about.name} too: name each once")
        for entry in corpus.clips:
            if len(entry.sha256) != 64 or not entry.speaker:
                raise UserError(f"{corpus.folder}: {entry.file}: has no sha256 or speaker: run echat ingest again")
        found[about.name] = about, corpus
    return list(found.values())


def _people(corpus: Corpus) -> dict[str, Person]:
    people: dict[str, Person] = {}
    for entry in corpus.clips:
        person = people.setdefault(entry.speaker, Person())
        person.genders |= {entry.labels[family] for family in ("gender",) if family in entry.labels}
        person.ages |= {entry.labels[family] for family in ("age",) if family in entry.labels}
        person.splits.add(entry.split)
    for speaker, person in people.items():
        if len(person.splits) > 1:
            raise UserError(f"{corpus.folder}: the speaker {speaker!r} is in two splits: give him one")
    return people


def _stated(about: About) -> dict[str, Any]:
    keys = ("name", "licence", "consent", "publish", "note", "source", "citation", "recordings")
    return {key: getattr(about, key) for key in keys}


def _write(folder: Path, out: Path, bank: Bank, report: dict[str, Any], files: Mapping[str, Path]) -> None:
    with writing(out):
        for prompt in bank.prompts:
            path = folder / prompt.row["file"]
            path.write_bytes(files[prompt.row["sha256"]].read_bytes())
            if sha256(path) != prompt.row["sha256"]:
                raise UserError(f"{files[prompt.row['sha256']]}: changed while it was read: run the command again")
            fsync(path)
        _table(folder / PROMPTS_CSV, [prompt.row for prompt in bank.prompts])
        _table(folder / VOICES_CSV, bank.voices)
        report["voices_sha256"] = sha256(folder / VOICES_CSV)
        report["prompts_sha256"] = sha256(folder / PROMPTS_CSV)
        about = {key: report[key] for key in ("version", "corpora", "publish", "config", "engines")}
        write_atomic(folder / ABOUT, yaml.safe_dump(about, sort_keys=False, allow_unicode=True).encode())
        write_atomic(folder / REPORT, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
        write_page(folder, PAGE, bank, report)
    VoiceTable.load("", folder / VOICES_CSV)  # a bank that runs would refuse is none


def _table(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    rows = list(rows)
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    fsync(path)
