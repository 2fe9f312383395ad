"""Each adapter on a small tree that is laid out as its corpus documents it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from corpora import kept, reasons, save, table, take_in, voice

LABELS = ("speaker", "gender", "age", "emotion", "event", "text", "language")


def labels(row: dict[str, str]) -> dict[str, str]:
    return {name: row[name] for name in LABELS if row[name]}


def test_emodb(tmp_path: Path) -> None:
    for seed, name in enumerate(("03a01Fa", "08b09La", "16a04Ab", "03a99Fa", "notes")):
        save(tmp_path / "src" / "wav" / f"{name}.wav", voice(seed))
    report = take_in("emodb", tmp_path / "src", tmp_path / "out")
    rows = kept(tmp_path / "out")
    happy = rows["wav/03a01Fa.wav"]
    assert labels(happy) == {
        "speaker": "03", "gender": "male", "age": "adult", "emotion": "happy", "language": "de",
        "text": "Der Lappen liegt auf dem Eisschrank.",
    }  # fmt: skip
    assert (happy["original_emotion"], happy["original_age"]) == ("F", "31")
    assert happy["translation"] == "The tablecloth is lying on the fridge."
    bored, afraid = rows["wav/08b09La.wav"], rows["wav/16a04Ab.wav"]
    assert (bored["emotion"], bored["original_emotion"]) == ("", "L")
    assert (afraid["emotion"], afraid["gender"]) == ("fear", "female")
    assert reasons(report) == {"its name is not one of the corpus": 2}
    assert report["unmapped"] == {"emotion": {"L": 1}}
    assert report["publish"] is False


def test_ravdess(tmp_path: Path) -> None:
    for seed, name in enumerate(("03-01-06-01-02-01-12", "03-01-02-01-01-01-07", "03-02-03-01-01-01-07")):
        save(tmp_path / "src" / f"Actor_{name[-2:]}" / f"{name}.wav", voice(seed))
    report = take_in("ravdess", tmp_path / "src", tmp_path / "out", licence="CC BY-NC-SA 4.0")
    rows = kept(tmp_path / "out")
    assert labels(rows["Actor_12/03-01-06-01-02-01-12.wav"]) == {
        "speaker": "12", "gender": "female", "age": "adult", "emotion": "fear", "language": "en",
        "text": "Dogs are sitting by the door.",
    }  # fmt: skip
    calm = rows["Actor_07/03-01-02-01-01-01-07.wav"]
    assert (calm["emotion"], calm["original_emotion"], calm["gender"]) == ("neutral", "calm", "male")
    assert reasons(report) == {"it is song, not speech": 1}
    assert report["publish"] is False


def test_cremad(tmp_path: Path) -> None:
    for seed, name in enumerate(("1001_DFA_ANG_XX", "1002_IEO_SAD_HI", "1002_XXX_SAD_HI")):
        save(tmp_path / "src" / "AudioWAV" / f"{name}.wav", voice(seed))
    people = [{"ActorID": "1001", "Age": "51", "Sex": "Male"}, {"ActorID": "1002", "Age": "64", "Sex": "Female"}]
    table(tmp_path / "src" / "VideoDemographics.csv", people)
    report = take_in("cremad", tmp_path / "src", tmp_path / "out")
    rows = kept(tmp_path / "out")
    assert labels(rows["AudioWAV/1001_DFA_ANG_XX.wav"]) == {
        "speaker": "1001", "gender": "male", "age": "adult", "emotion": "angry", "language": "en",
        "text": "Don't forget a jacket.",
    }  # fmt: skip
    assert rows["AudioWAV/1002_IEO_SAD_HI.wav"]["age"] == "old"
    assert reasons(report) == {"its name is not one of the corpus": 1}
    (tmp_path / "src" / "VideoDemographics.csv").unlink()
    take_in("cremad", tmp_path / "src", tmp_path / "bare")
    bare = kept(tmp_path / "bare")["AudioWAV/1001_DFA_ANG_XX.wav"]
    assert (bare["gender"], bare["age"], bare["emotion"]) == ("", "", "angry")


def test_esd(tmp_path: Path) -> None:
    source = tmp_path / "src"
    save(source / "0001" / "Angry" / "evaluation" / "0001_000351.wav", voice(1))
    save(source / "0011" / "Surprise" / "0011_001401.wav", voice(2))
    save(source / "0011" / "Happy" / "train" / "0011_000701.wav", voice(3))
    (source / "0001" / "0001.txt").write_bytes("0001_000351\t打远一看\t生气\n".encode("gb18030"))
    (source / "0011" / "0011.txt").write_text("0011_001401\tThe nine the eggs.\tSurprise\n", encoding="utf-16")
    report = take_in("esd", source, tmp_path / "out")
    rows = kept(tmp_path / "out")
    assert labels(rows["0001/Angry/evaluation/0001_000351.wav"]) == {
        "speaker": "0001", "emotion": "angry", "language": "zh", "text": "打远一看",
    }  # fmt: skip
    assert labels(rows["0011/Surprise/0011_001401.wav"]) == {
        "speaker": "0011", "emotion": "surprise", "language": "en", "text": "The nine the eggs.",
    }  # fmt: skip
    assert {row["split"] for row in rows.values()} == {""}, "its folders share their speakers"
    assert report["without_text"] == 1
    assert report["publish"] is False


def test_commonvoice(tmp_path: Path) -> None:
    source = tmp_path / "src"
    rows = [
        {"client_id": "a1", "path": "cv_1.wav", "sentence": 'He said "no', "age": "sixties", "gender": "female",
         "locale": "en"},
        {"client_id": "b2", "path": "cv_2.wav", "sentence": "Guten Tag.", "age": "teens", "gender": "male_masculine",
         "locale": "de"},
        {"client_id": "b2", "path": "cv_3.wav", "sentence": "Ja.", "age": "", "gender": "", "locale": "de"},
    ]  # fmt: skip
    for seed in (1, 2):
        save(source / "clips" / f"cv_{seed}.wav", voice(seed))
    text = "\n".join("\t".join(row) for row in (rows[0].keys(), *(row.values() for row in rows)))
    (source / "validated.tsv").write_text(text + "\n", encoding="utf-8")
    report = take_in("commonvoice", source, tmp_path / "out", name="cv")
    have = kept(tmp_path / "out")
    assert labels(have["clips/cv_1.wav"]) == {
        "speaker": "a1", "gender": "female", "age": "old", "language": "en", "text": 'He said "no',
    }  # fmt: skip
    assert labels(have["clips/cv_2.wav"]) == {
        "speaker": "b2", "gender": "male", "language": "de", "text": "Guten Tag.",
    }  # fmt: skip
    assert have["clips/cv_2.wav"]["original_age"] == "teens"
    assert reasons(report) == {"the file is missing": 1}
    assert report["publish"] is True


def test_vocalsound(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for seed, name in enumerate(("f0003_0_cough", "m0100_0_throatclearing", "m0100_0_sniff")):
        save(source / "audio_44k" / f"{name}.wav", voice(seed, rate=44100), 44100)
        save(source / "audio_16k" / f"{name}.wav", voice(seed))
    (source / "meta").mkdir()
    (source / "meta" / "tr_meta.csv").write_text("f0003,f,67,US,English,no\n")
    (source / "meta" / "te_meta.csv").write_text("m0100,m,25,India,Hindi,no\n")
    report = take_in("vocalsound", source, tmp_path / "out")
    rows = kept(tmp_path / "out")
    assert len(rows) == 2, "of the two rates one is read"
    cough = rows["audio_44k/f0003_0_cough.wav"]
    assert labels(cough) == {"speaker": "f0003", "gender": "female", "age": "old", "event": "cough"}
    assert (cough["split"], cough["sample_rate"]) == ("train", "44100")
    other = rows["audio_44k/m0100_0_throatclearing.wav"]
    assert (other["event"], other["age"], other["split"]) == ("throat_clear", "adult", "test")
    assert reasons(report) == {"'sniff' is not one of the events": 1}
    assert report["without_text"] == 2


def test_esc50(tmp_path: Path) -> None:
    source = tmp_path / "src"
    rows = [("1-1-A.wav", "laughing", "17"), ("1-2-A.wav", "dog", "18"), ("1-3-A.wav", "sneezing", "17")]
    for seed, (name, _, _) in enumerate(rows):
        save(source / "audio" / name, voice(seed, rate=44100), 44100)
    keys = ("filename", "category", "src_file")
    table(source / "meta" / "esc50.csv", [dict(zip(keys, row, strict=True)) for row in rows])
    report = take_in("esc50", source, tmp_path / "out")
    have = kept(tmp_path / "out")
    assert labels(have["audio/1-1-A.wav"]) == {"speaker": "freesound-17", "event": "laugh"}
    assert have["audio/1-3-A.wav"]["speaker"] == "freesound-17", "one original recording is one speaker"
    assert reasons(report) == {"'dog' is not one of the events": 1}
    assert report["publish"] is False


def test_lhotse(tmp_path: Path) -> None:
    source = tmp_path / "src"
    save(source / "wav" / "long.wav", voice(1, 2.0))
    save(source / "wav" / "two.wav", voice(2))

    def recording(name: str, *files: str) -> dict[str, object]:
        sources = [{"type": "file", "channels": [n], "source": file} for n, file in enumerate(files)]
        return {"id": name, "sources": sources, "sampling_rate": 16000, "num_samples": 1, "duration": 1.0}

    def supervision(name: str, recording_id: str, start: float, **more: object) -> dict[str, object]:
        row = {"id": name, "recording_id": recording_id, "start": start, "duration": 0.5, "channel": 0}
        return {**row, "text": f"words of {name}", "language": "English", "speaker": "p1", **more}

    recordings = [recording("r1", "wav/long.wav"), recording("r2", "a.wav", "b.wav"), recording("r3", "/etc/passwd")]
    with gzip.open(source / "x_recordings_train.jsonl.gz", "wt") as lines:
        lines.writelines(json.dumps(row) + "\n" for row in recordings)
    supervisions = [
        supervision("s1", "r1", 0.25, gender="F", custom={"emotion": "anger", "age": 70}, language="en"),
        supervision("s2", "r1", 1.0, language="en-US"),
        supervision("s3", "r2", 0.0, language="en"),
        supervision("s4", "nobody", 0.0, language="en"),
        supervision("s5", "r3", 0.0, language="en"),
        supervision("s6", "r1", 0.0, channel=1),
    ]
    lines = [json.dumps(row) + "\n" for row in supervisions]
    (source / "x_supervisions_train.jsonl").write_text("".join(lines) + "[1]\n")
    report = take_in("lhotse", source, tmp_path / "out", name="lh")
    rows = kept(tmp_path / "out")
    assert labels(rows["wav/long.wav#t=0.25,0.75"]) == {
        "speaker": "p1", "gender": "female", "age": "old", "emotion": "angry", "language": "en", "text": "words of s1",
    }  # fmt: skip
    assert rows["wav/long.wav#t=0.25,0.75"]["seconds"] == "0.5000"
    assert rows["wav/long.wav#t=1,1.5"]["language"] == "en"
    assert reasons(report) == {
        "its recording is not one file": 1,
        "no recording has its recording_id": 1,
        "its path is absolute or leads out of the folder": 1,
        "it is of another channel than the first": 1,
        "the row is no JSON object": 1,
    }


def test_osum(tmp_path: Path) -> None:
    source = tmp_path / "src"
    for seed in range(4):
        save(source / "wav" / f"{seed}.wav", voice(seed))
    rows = [
        {"key": "a", "wav": "wav/0.wav", "txt": "the answer", "task": "S2S", "lang": "en", "speaker": "k1",
         "gender": "<MALE>",
         "extra": {"age": "<OLD>", "caption": "<COUGH>", "q_emotion": "<SAD>", "question": "the words",
                   "speech_token": [1, 2]}},
        {"key": "b", "wav": "wav/1.wav", "txt": "what is said", "lang": "zh", "speaker": "k2", "emotion": "ANGER"},
        {"key": "c", "wav": "wav/2.wav", "txt": "words", "lang": "zh"},
        {"key": "d", "wav": "wav/3.wav", "wav_1": "wav/2.wav", "txt": "x", "lang": "zh", "speaker": "k2"},
        {"key": "e", "wav": "../out.wav", "txt": "x", "lang": "zh", "speaker": "k2"},
    ]  # fmt: skip
    (source / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = take_in("osum", source, tmp_path / "out", name="osum")
    have = kept(tmp_path / "out")
    assert labels(have["wav/0.wav"]) == {
        "speaker": "k1", "gender": "male", "age": "old", "emotion": "sad", "event": "cough", "language": "en",
        "text": "the words",
    }  # fmt: skip
    assert labels(have["wav/1.wav"]) == {"speaker": "k2", "emotion": "angry", "language": "zh", "text": "what is said"}
    assert reasons(report) == {
        "nobody is named as its speaker": 1,
        "it is a dialogue of several turns": 1,
        "its path is absolute or leads out of the folder": 1,
    }


def test_a_table_of_json_lines_and_one_of_tabs(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path / folder / "x.wav", voice(3, 1.0))
    row = {"file": "x.wav", "speaker": 7, "text": "Hello.", "language": "en", "age": 71, "split": "dev", "start": 0.2}
    (tmp_path / "a" / "mine.jsonl").write_text(json.dumps(row) + "\nnonsense\n")
    report = take_in("csv", tmp_path / "a", tmp_path / "out-a")
    (have,) = kept(tmp_path / "out-a").values()
    assert labels(have) == {"speaker": "7", "age": "old", "text": "Hello.", "language": "en"}
    assert (have["split"], have["seconds"]) == ("validation", "0.8000")
    assert reasons(report) == {"the row is no JSON object": 1}
    table(tmp_path / "b" / "labels.tsv", [row], "\t")
    take_in("csv", tmp_path / "b", tmp_path / "out-b")
    assert [labels(row) for row in kept(tmp_path / "out-b").values()] == [labels(have)]
