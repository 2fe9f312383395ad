"""`croissant.json`: the release in the vocabulary of dataset search engines and loaders (MLCommons Croissant 1.0)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.publish.index import SCHEMA

_CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract", "field": "cr:field",
    "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet", "format": "cr:format",
    "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key",
    "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet", "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated",
    "replace": "cr:replace", "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source",
    "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip


def croissant(
    facts: Mapping[str, Any], indices: Sequence[tuple[str, str, int]], shards: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The document.

    Args:
        facts: `name`, `description`, `licence`, `version`, `date`, `citation` and the texts of the Responsible-AI
            fields under `rai`.
        indices: Path, sha256 and size of each Parquet index.
        shards: `dataset.json`'s shards.
    """
    files = [
        {
            "@type": "cr:FileObject", "@id": path, "name": path, "contentUrl": path, "contentSize": f"{size} B",
            "encodingFormat": "application/x-parquet", "sha256": digest,
        }
        for path, digest, size in indices
    ]  # fmt: skip
    files += [
        {
            "@type": "cr:FileObject", "@id": shard["name"], "name": shard["name"], "contentUrl": shard["name"],
            "contentSize": f"{shard['size']} B", "encodingFormat": "application/x-tar", "sha256": shard["sha256"],
        }
        for shard in shards
    ]  # fmt: skip
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": facts["name"],
        "description": facts["description"],
        "license": facts["licence"],
        "url": facts["url"],
        "version": facts["version"],
        "datePublished": facts["date"],
        "citeAs": facts["citation"],
        "isLiveDataset": False,
        **{f"rai:{name}": text for name, text in facts["rai"].items()},
        "distribution": files,
        "recordSet": [_record_set(path) for path, _, _ in indices],
    }


def _record_set(path: str) -> dict[str, Any]:
    name = path.rsplit("/", 1)[-1].removesuffix(".parquet")
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": f"Turns of the split {name}, without audio.",
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{name}/{column.name}",
                "name": column.name,
                "description": column.metadata[b"description"].decode(),
                "dataType": _data_type(column.type),
                "source": {"fileObject": {"@id": path}, "extract": {"column": column.name}},
            }
            for column in SCHEMA
        ],
    }


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "sc:Float"
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    return "sc:Integer" if pa.types.is_integer(kind) else "sc:Text"
