"""Adapters of corpora of acted emotion, whose file names are codes: EMO-DB, RAVDESS, CREMA-D, ESD."""

from __future__ import annotations

import re
from pathlib import Path

from pipeline.ingest.base import Adapter, Item, Items, Left, audio_files, relative
from pipeline.ingest.tables import csv_rows, decoded

_STRANGE = "its name is not one of the corpus"
_ADULTS = {"age": "adult"}

EMODB_SENTENCES = {
    "a01": ("Der Lappen liegt auf dem Eisschrank.", "The tablecloth is lying on the fridge."),
    "a02": ("Das will sie am Mittwoch abgeben.", "She will hand it in on Wednesday."),
    "a04": ("Heute abend könnte ich es ihm sagen.", "Tonight I could tell him."),
    "a05": ("Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
            "The black sheet of paper is located up there besides the piece of timber."),
    "a07": ("In sieben Stunden wird es soweit sein.", "In seven hours it will be."),
    "b01": ("Was sind denn das für Tüten, die da unter dem Tisch stehen?",
            "What about the bags standing there under the table?"),
    "b02": ("Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
            "They just carried it upstairs and now they are going down again."),
    "b03": ("An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
            "Currently at the weekends I always went home and saw Agnes."),
    "b09": ("Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
            "I will just discard this and then go for a drink with Karl."),
    "b10": ("Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
            "It will be in the place where we always store it."),
}  # fmt: skip
"""The ten sentences, in German and English."""
_EMODB_SPEAKERS = {
    "03": ("male", 31), "08": ("female", 34), "09": ("female", 21), "10": ("male", 32), "11": ("male", 26),
    "12": ("male", 30), "13": ("female", 32), "14": ("female", 35), "15": ("male", 25), "16": ("female", 31),
}  # fmt: skip
_EMODB_EMOTIONS = {"W": "angry", "E": "disgust", "A": "fear", "F": "happy", "T": "sad", "N": "neutral"}
_EMODB_NAME = re.compile(r"(?P<speaker>\d\d)(?P<text>[ab]\d\d)(?P<emotion>[WLEAFTN])(?P<take>[a-z])")


def emodb_items(source: Path) -> Items:
    """Berlin Database of Emotional Speech: `wav/03a01Fa.wav`, or the files in any folder below.

    A name is speaker (03 to 16), sentence (a01 to b10), emotion by its German initial (Wut, Langeweile, Ekel, Angst,
    Freude, Trauer, Neutral) and take. Boredom (L) is none of our labels and stays without one.
    """
    for path in audio_files(source):
        name, match = relative(path, source), _EMODB_NAME.fullmatch(path.stem)
        if not match or match["speaker"] not in _EMODB_SPEAKERS or match["text"] not in EMODB_SENTENCES:
            yield Left(name, _STRANGE)
            continue
        gender, years = _EMODB_SPEAKERS[match["speaker"]]
        german, english = EMODB_SENTENCES[match["text"]]
        code = match["emotion"]
        ours = {"emotion": _EMODB_EMOTIONS[code]} if code in _EMODB_EMOTIONS else {}
        yield Item(
            file=name,
            speaker=match["speaker"],
            labels={"emotion": code, "gender": gender, "age": str(years)},
            ours=ours,
            text=german,
            translation=english,
        )


_RAVDESS_EMOTIONS = {
    "01": "neutral", "02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgust",
    "08": "surprised",
}  # fmt: skip
_RAVDESS_TEXTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
_RAVDESS_NAME = re.compile(
    r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<level>0[12])-(?P<text>0[12])-0[12]-(?P<actor>\d\d)"
)


def ravdess_items(source: Path) -> Items:
    """RAVDESS: `Actor_12/03-01-06-01-02-01-12.wav`.

    Seven numbers: modality, vocal channel, emotion, intensity, statement, repetition, actor (odd ones male, even ones
    female; all of them 21 to 33 years old). Songs are left out. `calm` counts as neutral.
    """
    for path in audio_files(source):
        name, match = relative(path, source), _RAVDESS_NAME.fullmatch(path.stem)
        if not match:
            yield Left(name, _STRANGE)
        elif match["channel"] != "01":
            yield Left(name, "it is song, not speech")
        else:
            yield Item(
                file=name,
                speaker=match["actor"],
                labels={
                    "emotion": _RAVDESS_EMOTIONS[match["emotion"]],
                    "gender": "male" if int(match["actor"]) % 2 else "female",
                    "age": "21 to 33",
                },
                ours=_ADULTS,
                text=_RAVDESS_TEXTS[match["text"]],
            )


_CREMAD_EMOTIONS = {
    "ANG": "angry", "DIS": "disgust", "FEA": "fear", "HAP": "happy", "NEU": "neutral", "SAD": "sad",
}  # fmt: skip
_CREMAD_TEXTS = {
    "IEO": "It's eleven o'clock.", "TIE": "That is exactly what happened.", "IOM": "I'm on my way to the meeting.",
    "IWW": "I wonder what this is about.", "TAI": "The airplane is almost full.",
    "MTI": "Maybe tomorrow it will be cold.", "IWL": "I would like a new alarm clock.",
    "ITH": "I think I have a doctor's appointment.", "DFA": "Don't forget a jacket.",
    "ITS": "I think I've seen this before.", "TSI": "The surface is slick.",
    "WSI": "We'll stop in a couple of minutes.",
}  # fmt: skip
_CREMAD_NAME = re.compile(r"(?P<actor>\d{4})_(?P<text>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<level>[A-Z]{1,2})")


def cremad_items(source: Path) -> Items:
    """CREMA-D: `AudioWAV/1001_DFA_ANG_XX.wav`; `VideoDemographics.csv` (ActorID, Age, Sex) beside it, where it is.

    A name is actor, sentence, emotion and level. Without the table there is no gender and no age.
    """
    tables = sorted(source.rglob("VideoDemographics.csv"))
    people = {row.get("ActorID", "").strip(): row for row in csv_rows(tables[0])} if tables else {}
    for path in audio_files(source):
        name, match = relative(path, source), _CREMAD_NAME.fullmatch(path.stem)
        if not match or match["text"] not in _CREMAD_TEXTS or match["emotion"] not in _CREMAD_EMOTIONS:
            yield Left(name, _STRANGE)
            continue
        person = people.get(match["actor"], {})
        yield Item(
            file=name,
            speaker=match["actor"],
            labels={"emotion": match["emotion"], "gender": person.get("Sex", ""), "age": person.get("Age", "")},
            ours={"emotion": _CREMAD_EMOTIONS[match["emotion"]]},
            text=_CREMAD_TEXTS[match["text"]],
        )


_ESD_NAME = re.compile(r"(?P<speaker>\d{4})_\d{6}")
_ESD_EMOTIONS = ("angry", "happy", "neutral", "sad", "surprise")


def esd_items(source: Path) -> Items:
    """ESD: `0001/Angry/evaluation/0001_000351.wav` or `0001/Angry/0001_000351.wav`, texts in `0001/0001.txt`.

    The emotion is that of the folder; the lines of the texts are name, text and emotion, with tabs between. Speakers
    0001 to 0010 speak Mandarin, 0011 to 0020 English. The folders `train`, `evaluation` and `test` share their
    speakers and so are no splits here.
    """
    texts: dict[str, dict[str, str]] = {}
    for path in audio_files(source):
        name, match = relative(path, source), _ESD_NAME.fullmatch(path.stem)
        emotion = next((part for part in path.relative_to(source).parts if part.lower() in _ESD_EMOTIONS), "")
        if not match or not emotion:
            yield Left(name, _STRANGE)
            continue
        speaker = match["speaker"]
        if speaker not in texts:
            tables = [folder / f"{speaker}.txt" for folder in path.relative_to(source).parents]
            table = next((source / place for place in tables if (source / place).is_file()), None)
            texts = {speaker: _esd_texts(table) if table else {}}  # of one speaker at a time: files come by speaker
        yield Item(
            file=name,
            speaker=speaker,
            labels={"emotion": emotion},
            text=texts[speaker].get(path.stem, ""),
            language="zh" if int(speaker) <= 10 else "en",
        )


def _esd_texts(table: Path) -> dict[str, str]:
    lines = (line.split("\t") for line in decoded(table).splitlines())
    return {cells[0].strip(): cells[1].strip() for cells in lines if len(cells) >= 2}


EMODB = Adapter(
    "emodb", emodb_items, title="emodb", licence="free for research use",
    source="http://emodb.bilderbar.info",
    citation="F. Burkhardt et al., A Database of German Emotional Speech, Interspeech 2005",
    publish=False, note="for research use only: do not publish the recordings, nor a model trained on them",
    language="de",
)  # fmt: skip
RAVDESS = Adapter(
    "ravdess", ravdess_items, title="ravdess", licence="CC BY-NC-SA 4.0", source="https://zenodo.org/record/1188976",
    citation="S. R. Livingstone and F. A. Russo, The Ryerson Audio-Visual Database of Emotional Speech and Song,"
    " PLoS ONE 13(5), 2018",
    publish=False, note="not for commercial use; what is made of it must be shared alike", language="en",
)  # fmt: skip
CREMAD = Adapter(
    "cremad", cremad_items, title="cremad", licence="ODbL 1.0", source="https://github.com/CheyneyComputerScience/CREMA-D",
    citation="H. Cao et al., CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset, IEEE Trans. Affective"
    " Computing 5(4), 2014", language="en",
)  # fmt: skip
ESD = Adapter(
    "esd", esd_items, title="esd", licence="for research use",
    source="https://github.com/HLTSingapore/Emotional-Speech-Data",
    citation="K. Zhou et al., Emotional voice conversion: Theory, databases and ESD, Speech Communication 137, 2022",
    publish=False, note="for research use only: do not publish the recordings",
)  # fmt: skip
