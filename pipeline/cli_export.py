"""`echat export`: a finished set in the formats of other trainers and toolkits."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console import Json, Quiet, Verbose, sentences, show, show_json, show_table

_NEXT = {
    "osum-raw": "in the trainer: data_type raw, the list {out}/{split}/data.list",
    "osum-shard": "in the trainer: data_type shard, the list {out}/{split}/shards_list.txt",
    "osum-combine": "in the trainer: data_type shard, combines_list.txt and combines_tar_root.txt of {out}/{split}",
    "lhotse": "load it with lhotse.CutSet.from_shar(in_dir='{out}/{split}')",
    "parquet": "load it with datasets.load_dataset('{out}') or from '{out}/data/{split}-*.parquet'",
    "kaldi": "check it in {out} with utils/validate_data_dir.sh --no-feats {split}_query",
}


def export(
    source: Annotated[
        Path, typer.Argument(metavar="DIR_OR_SHARDS", help="A run folder, a folder of shards, or one tar.")
    ],
    kind: Annotated[
        str, typer.Option("--format", help="osum-raw, osum-shard, osum-combine, lhotse, parquet or kaldi.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make; an earlier export is replaced.")],
    split: Annotated[list[str] | None, typer.Option("--split", help="Export this split; may be given again.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Most dialogues of each split.")] = None,
    rows: Annotated[int, typer.Option(min=1, max=1_000_000, help="Most samples of a file of many.")] = 1000,
    task: Annotated[
        str, typer.Option("--task", help="OSUM: s2s-think, s2s, s2t-think, s2t, tts, t2t or understand.")
    ] = "s2s-think",
    think: Annotated[str, typer.Option("--think", help="OSUM: natural or tag.")] = "natural",
    root: Annotated[
        str,
        typer.Option("--root", metavar="DIR", help="OSUM, Kaldi: written before paths in lists [relative to --out]."),
    ] = "",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write a finished set as OSUM-EChat, Lhotse, Parquet or Kaldi data. Splits stay apart."""
    with sentences(verbose):
        from pipeline.export.base import Request
        from pipeline.export.write import export as run_export

        request = Request(source, out, kind, tuple(split or ()), limit, rows, task, think, root)
        about = run_export(request, (lambda line: None) if quiet or as_json else show)
        if as_json:
            show_json({**about, "out": str(out)})
        else:
            _print(about, out)


def _print(about: dict[str, Any], out: Path) -> None:
    splits = about["splits"]
    show_table(
        "", ["split", "dialogues", "samples"], [(name, *list(item.values())[:2]) for name, item in splits.items()]
    )
    for name, item in splits.items():
        for reason, number in item["left_out"].items():
            show(f"  {name}: {number:,} left out: {reason}")
    if about["may_be_published"] != "yes":
        says = "may not be published" if about["may_be_published"] == "no" else "does not say if it may be published"
        show(f"it {says}: {out}/NOTICE.txt")
    if about["of"].startswith("osum"):
        codec = ", ".join(about["speech_tokens"]) or "a codec that the tar does not name"
        show(f"its speech tokens are those of {codec}, not of OSUM-EChat's tokenizer: see {out}/NOTICE.txt")
    show(_NEXT[about["of"]].format(out=out, split=next(iter(splits))))
