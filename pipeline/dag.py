"""The DAG: stages in order, built from a run manifest and checked before any work."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from manifests import schema
from manifests.bank import shipped_languages
from manifests.errors import UserError
from manifests.run import RunManifest
from manifests.voices import VoiceTable
from pipeline.planner import Planner
from pipeline.real import RealQueries
from pipeline.registry import load_plugins, resolve
from pipeline.stage import REFERENCE, Stage
from pipeline.stages.listen import Annotate, Rate, Transcribe
from pipeline.stages.mos import Mos
from pipeline.stages.plan import Plan
from pipeline.stages.script import Script
from pipeline.stages.speak import SpeakQuery, SpeakReply
from pipeline.stages.tokenize import Tokenize
from pipeline.stages.voices import Voices


@dataclass(frozen=True)
class Dag:
    """The stages of one run, by name, and the manifest behind them."""

    manifest: RunManifest
    plan: Plan
    stages: tuple[Stage, ...]
    voices: Voices | None = None
    """Makes the references that an annotator wants; beside the stages, since its cells are voices, not parts."""

    @cached_property
    def by_name(self) -> dict[str, Stage]:
        """All stages, `plan` included."""
        return {"plan": self.plan, **{stage.name: stage for stage in self.stages}}

    @cached_property
    def revisions(self) -> dict[str, str]:
        """Revisions of each stage's engines; a hash of a whole bank may be among them, so they are asked for once."""
        return {stage.name: ", ".join(stage.revisions) for stage in self.stages}

    def stage(self, name: str) -> Stage:
        """A stage that workers run."""
        return self.voices if self.voices is not None and name == self.voices.name else self.by_name[name]

    @property
    def planner(self) -> Planner:
        """Draws the rows."""
        return self.plan.planner

    @property
    def closed_voices(self) -> list[str]:
        """Voices of the run's tables whose speech may not be passed on."""
        voices = (*self.planner.voices.voices, *self.planner.reply_voices.voices)
        return sorted({voice.voice for voice in voices if not voice.publish})

    @property
    def closed_events(self) -> tuple[str, ...]:
        """Collections of recorded sound events of the run that may not be passed on."""
        return self.by_name["speak_query"].engine.closed_events  # type: ignore[attr-defined]

    @property
    def publishable(self) -> bool:
        """Whether all voices, speakers, sound events and corpora of the run may be heard by everybody."""
        stages = (self.by_name["speak_query"], self.by_name["speak_reply"])
        corpora = all(about.publish for about in self.planner.real.abouts.values())
        if not corpora or self.closed_voices or self.closed_events:
            return False
        return all(stage.engine.capabilities.publishable for stage in stages)  # type: ignore[attr-defined]


def build_dag(manifest: RunManifest, file: Path | str = "run.yaml") -> Dag:
    """Resolve the engines of a manifest, check labels against the speaker, and columns between stages.

    Raises:
        UserError: An unknown engine, key or label; names file, key path and what is allowed.
    """
    load_plugins(manifest.plugins, file)
    writer = _writer(manifest, file)
    query: Any = resolve("speaker", manifest.speak_query, file, ("speak_query",))
    reply_section = {key: value for key, value in manifest.speak_reply.items() if key != "voice"}
    reply: Any = resolve("speaker", reply_section, file, ("speak_reply",))
    recognizer: Any = resolve("recognizer", manifest.transcribe, file, ("transcribe",))
    if manifest.language not in recognizer.languages:
        raise UserError(
            f"{file}: transcribe: {recognizer.engine} does not recognise {manifest.language!r};"
            f" it knows {', '.join(recognizer.languages)}"
        )
    annotators = _annotators(manifest, file)
    rater: Any = resolve("rater", manifest.rate, file, ("rate",))
    codec: Any = resolve("codec", manifest.tokenize, file, ("tokenize",))
    planner = Planner(
        manifest=manifest,
        file=str(file),
        bank=writer.bank,
        voices=_voices(query, "query", manifest.plan.voices),
        reply_voices=_replies(query, reply, file),
        reply_voice=manifest.speak_reply.get("voice"),
        speaker=query.engine,
        capabilities=query.capabilities,
        reply_languages=reply.capabilities.languages,
        real=_real(manifest, file),
    )
    annotate = Annotate(annotators)
    mos: Any = resolve("mos", manifest.mos, file, ("mos",)) if manifest.mos else None
    stages = (
        Script(writer),
        SpeakQuery(query, tuple(planner.real.sounds().items())),
        SpeakReply(reply),
        Transcribe(recognizer),
        annotate,
        Rate(rater),
        *([Mos(mos)] if mos else []),
        Tokenize(codec),
    )
    voices = Voices(query, manifest.language, manifest.takes_per_emotion) if annotate.needs_references else None
    stated = {stage: names for pool in manifest.workers for stage, names in pool.revisions.items()}
    stages = tuple(replace(stage, stated=stated.get(stage.name, ())) for stage in stages)
    voices = replace(voices, stated=stated.get(voices.name, ())) if voices else None
    dag = Dag(manifest, Plan(planner), stages, voices)
    check_columns(dag)
    return dag


def _writer(manifest: RunManifest, file: Path | str) -> Any:
    """The writer's config, with the bank that the plan is drawn from."""
    if manifest.language not in shipped_languages():
        own = ["scenarios", "openers", *(["followups"] if manifest.plan.max_turns > 1 else [])]
        if any(getattr(manifest.plan, key) is None for key in own):
            keys = " and ".join(f"plan.{key}" for key in own)
            raise UserError(f"{file}: language: no scenario bank ships for {manifest.language!r}; set {keys}")
    script_section = {
        **manifest.script,
        "language": manifest.language,
        "scenarios": manifest.plan.scenarios,
        "openers": manifest.plan.openers,
        "followups": manifest.plan.followups,
        "several_turns": manifest.plan.max_turns > 1,
        "home": Path(file).parent,
    }
    return resolve("script", script_section, file, ("script",))


def _real(manifest: RunManifest, file: Path | str) -> RealQueries:
    """The recordings that a manifest names; what is not as it should be is told at once."""
    config = manifest.plan.real
    if config is None:
        return RealQueries()
    return RealQueries(
        config.corpora, config.share, config.tasks, manifest.plan.splits, manifest.seed, str(file), config.splits
    )


def _annotators(manifest: RunManifest, file: Path | str) -> tuple[tuple[str, Any], ...]:
    """The annotators of a manifest by slot."""
    found = []
    for family, sections in sorted(manifest.annotate.items()):
        for slot, section in zip(manifest.slots_of(family), sections, strict=True):
            engine = resolve(f"annotator.{family}", {**section, "family": family}, file, ("annotate", slot))
            found.append((slot, engine))
    return tuple(found)


def _voices(speaker: Any, role: str, path: Path | None = None) -> VoiceTable:
    """The voice table of a speaker, or a user's own; every voice of the role must be one that it can speak as."""
    table = VoiceTable.load(speaker.voices, path or speaker.voice_table)
    if role == "reply" and speaker.voice_table is not None:
        table = table.as_replies()
    for voice in table.voices:
        if voice.role == role and not speaker.has_voice(voice.voice, voice.recipe):
            made = f", made as {voice.recipe!r}" if voice.recipe else ""
            raise UserError(f"{table.path}: the speaker {speaker.engine} has no voice {voice.voice!r}{made}")
    return table


def _replies(query: Any, reply: Any, file: Path | str) -> VoiceTable:
    """The assistant's voices, who must not be people that ask."""
    table = _voices(reply, "reply")
    if reply.voice_table is not None and query.voice_table is not None:
        asking = {voice.speaker for voice in _voices(query, "query").voices if voice.role == "query"}
        both = sorted(asking & {voice.speaker for voice in table.voices})
        if both:
            raise UserError(
                f"{file}: speak_reply.bank: the assistant's voice {both[0]!r} also asks queries: name a bank of other"
                " people for the replies"
            )
    return table


def check_columns(dag: Dag) -> None:
    """Refuse a DAG in which a stage reads a column that no earlier stage writes."""
    known: set[str] = {f"plan.{name}" for name in schema.PLAN.names} | {REFERENCE}
    for stage in dag.stages:
        unknown = [column for column in stage.reads if column not in known]
        if unknown:
            raise UserError(f"stage {stage.name} reads {', '.join(unknown)}, which no stage before it writes")
        clash = set(stage.writes.names) & set(schema.KEY.names)
        if clash:
            raise UserError(f"stage {stage.name} writes the key column(s) {', '.join(sorted(clash))}")
        known |= {f"{stage.name}.{name}" for name in stage.writes.names}
