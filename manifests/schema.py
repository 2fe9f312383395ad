"""Arrow schemas of the stage tables: a row per turn, each field with a description and a unit.

Every stage table begins with the columns of `KEY` and adds the family of columns that the stage
writes. A row that a stage could not make has nulls there and says so in `error`.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

SCHEMA_VERSION = 1
"""Of all stage tables; stored in each file's metadata. A file of another version is refused, not guessed at."""


def field(name: str, kind: pa.DataType, description: str, unit: str = "", optional: bool = False) -> pa.Field:
    """An Arrow field whose metadata says what it means and in which unit; `optional` allows a null in a good row."""
    metadata = {"description": description, "unit": unit, "optional": "yes" if optional else ""}
    return pa.field(name, kind, metadata={key: value for key, value in metadata.items() if value})


KEY = pa.schema([
    field("id", pa.string(), "dialogue: hash of the content of its plan"),
    field("turn", pa.int8(), "turn of the dialogue, from 0"),
    field("row_key", pa.string(), "hash of stage version, config, engine revision and this row's inputs"),
    field("error", pa.string(), "empty, or the stage that failed and its exception type: stage:Type"),
])  # fmt: skip

PLAN = pa.schema([
    field("num_turns", pa.int8(), "turns of the dialogue"),
    field("split", pa.string(), "train, validation or test; drawn before scenario and voice"),
    field("task", pa.string(), "what the dialogue is about: emotion, age, gender, event, multi, neutral"),
    field("language", pa.string(), "language of the reply, and of a synthetic query", "ISO 639-1"),
    field("source", pa.string(), "synthetic or real query audio"),
    field("query_language", pa.string(), "language of the query; a recorded one may be in another", "ISO 639-1"),
    field("recording", pa.string(), "sha256 of the recorded query's file in its corpus, or empty"),
    field("transcript", pa.string(), "words of the recorded query as its corpus states them, or empty"),
    field("scenario", pa.string(), "scenario of the bank"),
    field("scenario_hash", pa.string(), "hash of the scenario's content; after the first turn also of the follow-up's"),
    field("topic", pa.string(), "topic of the scenario"),
    field("slots", pa.string(), "the scenario's slots as filled here", "JSON object"),
    field("followup", pa.string(), "follow-up of the bank that this turn says; empty in turn 0"),
    field("earlier", pa.string(), "followup, cues, contrast, intensity of earlier turns", "JSON list of objects"),
    field("contrast", pa.string(), "cues of the pair's other dialogue, by family", "JSON object"),
    field("pair", pa.string(), "contrastive group: rows of one query text and speaker-independent seed, or empty"),
    field("cues", pa.list_(pa.string()), "cue families that the reply must answer to"),
    field("age", pa.string(), "requested age of the query voice"),
    field("gender", pa.string(), "requested gender of the query voice"),
    field("emotion", pa.string(), "requested emotion of the query voice"),
    field("event", pa.string(), "requested vocal sound event in the query, or none"),
    field("intensity", pa.float64(), "how strongly the emotion shows", "0..1"),
    field("query_voice", pa.string(), "voice that speaks the query"),
    field("query_recipe", pa.string(), "stock voices and settings that the speaker makes that voice of, or empty"),
    field("query_speaker", pa.string(), "base voice or real speaker behind it; splits are disjoint in it"),
    field("reply_voice", pa.string(), "voice that speaks the reply"),
    field("seed", pa.int64(), "the row's own seed; every draw derives from it"),
    field("number", pa.int64(), "place among the rows of its task and label, from 0"),
    field("attempt", pa.int16(), "0, or which retry of the row with this number it is"),
    field("round", pa.int16(), "0, or the top-up round that added it"),
])  # fmt: skip

SCRIPT = pa.schema([
    field("query_text", pa.string(), "what the user says; neutral as to the cue"),
    field("reply_text", pa.string(), "the empathetic reply"),
    field("reply_emotion", pa.string(), "emotion in which the reply is spoken"),
    field("query_spoken", pa.string(), "the query as it is spoken: numbers, currency and abbreviations in words"),
    field("reply_spoken", pa.string(), "the reply as it is spoken"),
    field("think_text", pa.string(), "natural-language think text: what the words mean, what the voice adds"),
    field("writer", pa.string(), "engine and revision of the model or bank that wrote the texts"),
    field("prompts", pa.string(), "hash of the prompts that the texts were asked for with; empty without prompts"),
    field("judge_neutral", pa.float64(), "judged: the query's words do not give its cue away; null unjudged",
          "0..1", True),
    field("judge_plausible", pa.float64(), "judged: somebody could say this in this way; null unjudged", "0..1", True),
    field("judge_relevant", pa.float64(), "judged: the reply answers the cue; null unjudged", "0..1", True),
])  # fmt: skip

SPEECH = pa.schema([
    field("audio", pa.large_binary(), "mono waveform, encoded once", "FLAC PCM_16"),
    field("sample_rate", pa.int32(), "rate of the waveform", "Hz"),
    field("seconds", pa.float64(), "duration of the waveform", "s"),
    field("audio_sha256", pa.string(), "sha256 of the sample rate and the decoded 16-bit samples"),
])  # fmt: skip

EVENT = pa.schema([
    field("event_start", pa.float64(), "where the vocal sound event begins; 0 without one", "s"),
    field("event_end", pa.float64(), "where it ends; no word lies between; 0 without one", "s"),
    field("event_position", pa.string(), "before, within or after the words; empty without an event"),
    field("event_snr_db", pa.float64(), "level of the event over that of the words; 0 without one", "dB"),
    field("event_source", pa.string(), "voice, or the recording that it was taken from; empty without an event"),
])  # fmt: skip

TAKES = pa.schema([
    field("voice", pa.string(), "voice that speaks the take"),
    field("recipe", pa.string(), "stock voices and settings that the speaker makes it of, or empty"),
    field("language", pa.string(), "language of the text", "ISO 639-1"),
    field("age", pa.string(), "age of the voice"),
    field("gender", pa.string(), "gender of the voice"),
    field("emotion", pa.string(), "emotion of the take"),
    field("intensity", pa.float64(), "how strongly the emotion shows", "0..1"),
    field("text", pa.string(), "what is said"),
    field("seed", pa.int64(), "of every draw of the speaker"),
])  # fmt: skip

VOICES = pa.schema([
    field("seconds", pa.float64(), "duration of the take", "s"),
    field("cues", pa.string(), "acoustic cues of the take, those that could be measured", "JSON object"),
    field("embedding", pa.list_(pa.float64()), "speaker embedding of the take"),
])  # fmt: skip

TRANSCRIPT = pa.schema([
    field("query_transcript", pa.string(), "what was heard in the query; null where the recognizer does not know its"
          " language", "", True),
    field("query_wer", pa.float64(), "word error rate of the query against its text; null likewise", "ratio", True),
    field("query_cer", pa.float64(), "character error rate of the query against its text; null likewise", "ratio",
          True),
    field("query_mismatch", pa.float64(), "probability that the query says something else than its text; null where"
          " the recognizer does not tell", "0..1", True),
    field("query_oov", pa.int32(), "words of the query's text that the recognizer's dictionary lacks; null where it has"
          " none", "words", True),
    field("query_words", pa.string(), "word, start, end (s) and score of each word heard in the query; null where times"
          " are not measured, or failed the checks", "JSON list of objects", True),
    field("reply_transcript", pa.string(), "what was heard in the reply"),
    field("reply_wer", pa.float64(), "word error rate of the reply against its text", "ratio"),
    field("reply_cer", pa.float64(), "character error rate of the reply against its text", "ratio"),
    field("reply_mismatch", pa.float64(), "the same of the reply", "0..1", True),
    field("reply_oov", pa.int32(), "the same of the reply", "words", True),
    field("reply_words", pa.string(), "the same of the reply", "JSON list of objects", True),
])  # fmt: skip


def annotation(slots: tuple[str, ...], embedded: Collection[str] = ()) -> pa.Schema:
    """Columns of the label that each annotator recognised; its slot is its family, numbered from the second on.

    Args:
        embedded: Slots of annotators whose embedding of the clip is kept too.
    """
    fields = []
    for slot in slots:
        fields += [
            field(f"heard_{slot}", pa.string(), f"recognised {slot.partition('_')[0]}, or none when unsure"),
            field(f"heard_{slot}_p", pa.float64(), "probability of the recognised label", "0..1"),
            field(f"heard_{slot}_probabilities", pa.string(), "probability of each class", "JSON object"),
            field(f"heard_{slot}_evidence", pa.string(), "measurements behind the label", "JSON object"),
        ]
        if slot in embedded:
            what = "the annotator's embedding of the clip; null of a clip that has none"
            fields.append(field(f"heard_{slot}_embedding", pa.list_(pa.float32()), what, "", True))
    return pa.schema(fields)


def _quality(role: str) -> list[pa.Field]:
    return [
        field(f"{role}_speech_ratio", pa.float64(), "share of the time that is speech", "0..1"),
        field(f"{role}_speech_seconds", pa.float64(), "total speech", "s"),
        field(f"{role}_lead_seconds", pa.float64(), "silence before the first speech", "s"),
        field(f"{role}_clipped_ratio", pa.float64(), "share of samples at full scale", "0..1"),
        field(f"{role}_snr_db", pa.float64(), "speech level over non-speech level", "dB"),
        field(f"{role}_rms_dbfs", pa.float64(), "level of the utterance", "dBFS"),
    ]


QUALITY = pa.schema(_quality("query") + _quality("reply"))


def _mos(role: str) -> list[pa.Field]:
    names = {"ovrl": "overall quality", "sig": "quality of the speech itself", "bak": "freedom from background noise"}
    return [
        field(f"{role}_{name}", pa.float64(), f"predicted {what}; null in rows that were not sampled", "MOS", True)
        for name, what in names.items()
    ]


MOS = pa.schema(_mos("query") + _mos("reply"))

TOKENS = pa.schema([
    field("reply_tokens", pa.list_(pa.int32()), "speech tokens of the reply"),
    field("token_rate", pa.int32(), "tokens a second", "Hz"),
    field("codebook_size", pa.int32(), "number of distinct tokens"),
])  # fmt: skip

VERDICT = pa.schema([
    field("id", pa.string(), "dialogue"),
    field("split", pa.string(), "its split"),
    field("task", pa.string(), "its task"),
    field("num_turns", pa.int8(), "its turns"),
    field("verdict", pa.string(), "kept, rejected or quarantined"),
    field("reasons", pa.list_(pa.string()), "why it was rejected, each with the value and the threshold"),
    field("error", pa.string(), "empty, or the stage and exception type that quarantined it"),
])  # fmt: skip


def stage_schema(writes: pa.Schema) -> pa.Schema:
    """The schema of a stage table: the key columns, then what the stage writes."""
    return pa.schema([*KEY, *writes], metadata={"echat.schema_version": str(SCHEMA_VERSION)})
