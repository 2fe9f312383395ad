"""Arrow schemas of the stage tables: a row per turn, each field with a description and a unit.

Every stage table begins with the columns of `KEY` and adds the family of columns that the stage
writes. A row that a stage could not make has nulls there and says so in `error`.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 1
"""Of all stage tables; stored in each file's metadata. A file of another version is refused, not guessed at."""


def field(name: str, kind: pa.DataType, description: str, unit: str = "") -> pa.Field:
    """An Arrow field whose metadata says what it means and in which unit."""
    return pa.field(name, kind, metadata={"description": description, **({"unit": unit} if unit else {})})


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
    field("language", pa.string(), "language of the texts", "ISO 639-1"),
    field("source", pa.string(), "synthetic or real query audio"),
    field("scenario", pa.string(), "scenario of the bank"),
    field("scenario_hash", pa.string(), "hash of the scenario's content"),
    field("topic", pa.string(), "topic of the scenario"),
    field("slots", pa.string(), "the scenario's slots as filled here", "JSON object"),
    field("pair", pa.string(), "contrastive group: rows of one query text and speaker-independent seed, or empty"),
    field("cues", pa.list_(pa.string()), "cue families that the reply must answer to"),
    field("age", pa.string(), "requested age of the query voice"),
    field("gender", pa.string(), "requested gender of the query voice"),
    field("emotion", pa.string(), "requested emotion of the query voice"),
    field("event", pa.string(), "requested vocal sound event in the query, or none"),
    field("intensity", pa.float64(), "how strongly the emotion shows", "0..1"),
    field("query_voice", pa.string(), "voice that speaks the query"),
    field("query_speaker", pa.string(), "base voice or real speaker behind it; splits are disjoint in it"),
    field("reply_voice", pa.string(), "voice that speaks the reply"),
    field("seed", pa.int64(), "the row's own seed; every draw derives from it"),
])  # fmt: skip

SCRIPT = pa.schema([
    field("query_text", pa.string(), "what the user says; neutral as to the cue"),
    field("reply_text", pa.string(), "the empathetic reply"),
    field("reply_emotion", pa.string(), "emotion in which the reply is spoken"),
])  # fmt: skip

SPEECH = pa.schema([
    field("audio", pa.large_binary(), "mono waveform, encoded once", "FLAC PCM_16"),
    field("sample_rate", pa.int32(), "rate of the waveform", "Hz"),
    field("seconds", pa.float64(), "duration of the waveform", "s"),
])  # fmt: skip

TRANSCRIPT = pa.schema([
    field("query_transcript", pa.string(), "what was heard in the query"),
    field("query_wer", pa.float64(), "word error rate of the query against its text", "ratio"),
    field("query_cer", pa.float64(), "character error rate of the query against its text", "ratio"),
    field("reply_transcript", pa.string(), "what was heard in the reply"),
    field("reply_wer", pa.float64(), "word error rate of the reply against its text", "ratio"),
    field("reply_cer", pa.float64(), "character error rate of the reply against its text", "ratio"),
])  # fmt: skip


def annotation(families: tuple[str, ...]) -> pa.Schema:
    """Columns of the recognised label of each annotated cue family."""
    fields = []
    for family in families:
        fields += [
            field(f"heard_{family}", pa.string(), f"recognised {family}, or none when unsure"),
            field(f"heard_{family}_p", pa.float64(), "probability of the recognised label", "0..1"),
            field(f"heard_{family}_probabilities", pa.string(), "probability of each class", "JSON object"),
            field(f"heard_{family}_evidence", pa.string(), "measurements behind the label", "JSON object"),
        ]
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
