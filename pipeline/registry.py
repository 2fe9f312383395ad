"""Engines by role and name: one line each. Plugins named in a run manifest add theirs with `register`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from manifests.engine import EngineConfig
from manifests.errors import UserError, from_pydantic

_ENGINES: dict[str, dict[str, str]] = {
    "script": {"bank": "pipeline.writers.bank:BankConfig", "openai": "pipeline.writers.openai:OpenAIConfig"},
    "speaker": {
        "kokoro": "synthesis.kokoro:KokoroConfig",
        "cosyvoice": "synthesis.cosyvoice:CosyVoiceConfig",
        "tone": "synthesis.tone:ToneConfig",
    },
    "recognizer": {
        "pocketsphinx": "annotators.pocketsphinx:PocketsphinxConfig",
        "whisperx": "annotators.whisperx:WhisperxConfig",
        "tone": "annotators.tone:ToneRecognizerConfig",
    },
    "annotator.age": {
        "voice": "annotators.voice:VoiceAgeConfig",
        "wav2vec2_age_gender": "annotators.wav2vec2_age_gender:Wav2vec2AgeConfig",
        "tone": "annotators.tone:ToneLabelConfig",
    },
    "annotator.gender": {
        "voice": "annotators.voice:VoiceGenderConfig",
        "f0_formants": "annotators.gender:F0FormantGenderConfig",
        "wav2vec2_age_gender": "annotators.wav2vec2_age_gender:Wav2vec2GenderConfig",
        "tone": "annotators.tone:ToneLabelConfig",
    },
    "annotator.emotion": {
        "cues": "annotators.emotion:CueEmotionConfig",
        "emotion2vec": "annotators.emotion2vec:Emotion2vecConfig",
        "tone": "annotators.tone:ToneLabelConfig",
    },
    "annotator.event": {"events": "annotators.events:EventDetectorConfig", "tone": "annotators.tone:ToneLabelConfig"},
    "annotator.speakers": {
        "encoder": "annotators.speakers:EncoderSpeakersConfig",
        "pyannote": "annotators.pyannote:PyannoteSpeakersConfig",
    },
    "mos": {"dnsmos": "annotators.mos:DnsmosConfig"},
    "rater": {
        "silero": "annotators.quality:SileroQualityConfig",
        "pyannote": "annotators.pyannote:PyannoteRaterConfig",
        "level": "annotators.level:LevelConfig",
    },
    "codec": {
        "kmeans": "synthesis.speech_tokens:KmeansConfig",
        "s3": "synthesis.s3_tokens:S3Config",
        "tone": "synthesis.tone:ToneCodecConfig",
    },
}


def register(role: str, name: str, target: str) -> None:
    """Add an engine of your own: `register("speaker", "mine", "my_package.engine:MineConfig")`."""
    if role not in _ENGINES:
        raise UserError(f"register: {role!r} is not a role: use one of {', '.join(_ENGINES)}")
    _ENGINES[role][name] = target


def load_plugins(modules: tuple[str, ...], file: Path | str) -> None:
    """Import the modules that a run manifest names.

    Raises:
        UserError: A module cannot be imported.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a plugin may fail in any way
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"{file}: plugins: {module!r} cannot be imported ({reason}); is it on PYTHONPATH?"
            ) from error


def engine_class(role: str, name: str) -> type[EngineConfig]:
    """The config class of an engine."""
    module, _, attribute = _ENGINES[role][name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def all_engines() -> list[tuple[str, str]]:
    """Every known (role, name)."""
    return [(role, name) for role, names in _ENGINES.items() for name in names]


def resolve(role: str, section: dict[str, Any], file: Path | str, path: tuple[Any, ...]) -> EngineConfig:
    """The checked config of a manifest's engine section.

    Raises:
        UserError: No or an unknown engine, an unknown key or a wrong value; names file and key path.
    """
    name = section.get("engine")
    if not isinstance(name, str) or name not in _ENGINES[role]:
        where = ".".join(map(str, (*path, "engine")))
        raise UserError(f"{file}: {where}: {name!r} is not a {role} engine: use one of {', '.join(_ENGINES[role])}")
    try:
        config = engine_class(role, name)
    except (ImportError, AttributeError) as error:
        target = _ENGINES[role][name]
        raise UserError(
            f"{file}: {'.'.join(map(str, path))}: the engine {name!r} ({target}) is not there ({error})"
        ) from error
    try:
        return config.model_validate(section)
    except ValidationError as error:
        raise from_pydantic(file, error, path) from error
