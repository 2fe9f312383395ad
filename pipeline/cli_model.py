"""`echat train` and `echat generate`: the spoken-dialogue model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console import Json, Quiet, Verbose, sentences, show, show_json


def train(
    recipe: Annotated[Path, typer.Argument(metavar="TRAIN.yaml", help="Training manifest, or a shipped one's name.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of checkpoints and metrics; made, or gone on with.")],
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train or resume OSUM-EChat on shards; exit 1 if it was stopped before its end."""
    with sentences(verbose):
        from model.recipe import load_recipe
        from model.train import train as run_train
        from pipeline.train_progress import TrainProgress

        manifest = load_recipe(recipe)
        with TrainProgress([(stage.name, stage.steps) for stage in manifest.stages], quiet) as progress:
            result = run_train(manifest, out, progress)
        if as_json:
            show_json({"checkpoint": result.checkpoint, "steps": result.progress.total, "finished": result.finished})
        else:
            show(f"{'trained' if result.finished else 'stopped after'} {result.progress.total} steps")
            show(f"checkpoint: {result.checkpoint}")
        if not result.finished:
            raise typer.Exit(1)


def generate(
    checkpoint: Annotated[Path, typer.Option("--checkpoint", help="A step-... folder of `echat train`.")],
    audio: Annotated[Path | None, typer.Option("--audio", help="Recording of the query.")] = None,
    text: Annotated[str, typer.Option("--text", help="Text, for the tasks tts and t2t.")] = "",
    out: Annotated[Path | None, typer.Option("--out", help="WAV file for the spoken reply.")] = None,
    task: Annotated[
        str, typer.Option(help="Layout to answer in: think, think_tag, s2s, s2t, understand, tts ...")
    ] = "think",
    temperature: Annotated[float, typer.Option(min=0, help="0: always the likeliest.")] = 0.0,
    top_k: Annotated[int, typer.Option(min=0)] = 10,
    top_p: Annotated[float, typer.Option(min=0.01, max=1)] = 0.9,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Answer a recording (or a text) with thought, text and speech."""
    with sentences(verbose):
        import soundfile

        from manifests.errors import UserError
        from model.generate import Generator, Sampling
        from model.phases import Limits
        from model.setup import assembler_of, load_model
        from model.speak import answer

        model, tokenizer = load_model(checkpoint)
        sampling = Sampling(temperature, top_k, top_p, seed)
        generator = Generator(model, tokenizer)
        reply = answer(generator, assembler_of(model, tokenizer), task, sampling, Limits(), audio, text)
        if out is not None and not len(reply.speech):
            raise UserError(f"--out {out}: the reply has no speech; leave --out away, or take a task that speaks")
        if out is not None:
            speech = codec_for(model.config.codebook_size).decode(reply.speech)
            soundfile.write(out, speech.samples, speech.sample_rate)
        if as_json:
            show_json({"think": reply.think, "text": reply.text, "speech": reply.speech.tolist(),
                         "finished": reply.finished, "out": out})  # fmt: skip
            return
        if reply.think:
            show(f"think: {reply.think}")
        show(f"text: {reply.text}")
        show(f"speech: {len(reply.speech)} tokens, {len(reply.speech) / 25:.1f} s{f' in {out}' if out else ''}")


def codec_for(codebook_size: int) -> Any:
    """The embedded codec whose tokens a model speaks; `UserError` if it is none."""
    from manifests.errors import UserError
    from synthesis.speech_tokens import KmeansConfig

    codec = KmeansConfig().open()
    if codec.codebook_size != codebook_size:
        raise UserError(
            f"no decoder for a codebook of {codebook_size} speech tokens runs here (the embedded one has"
            f" {codec.codebook_size}): leave --out away, and decode the tokens of --json"
        )
    return codec
