"""Reading YAML that people wrote: safe, and strict about keys that stand twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from manifests.errors import UserError, from_pydantic

MAX_BYTES = 16 << 20
MAX_NODES = 1_000_000
"""Most keys and values of a document once every alias is written out: aliases of aliases double with each line."""

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """The safe loader, which also refuses a key that a mapping has twice instead of taking the last."""

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None and _written_out(node, {}) > MAX_NODES:
            raise yaml.YAMLError(f"its aliases stand for more than {MAX_NODES:,} values")
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {key.value!r} stands twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _written_out(node: yaml.Node, known: dict[int, int]) -> int:
    """Number of nodes below one, aliases counted as often as they stand; too many for one that holds itself."""
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # seen again before it is done: it holds itself
        below = (item for pair in node.value for item in (pair if isinstance(pair, tuple) else (pair,)))
        known[id(node)] = min(MAX_NODES + 1, 1 + sum(_written_out(item, known) for item in below))
    return known[id(node)]


Model = TypeVar("Model", bound=BaseModel)


def load_model(file: Path, kind: type[Model], what: str) -> Model:
    """A YAML file as one of our documents; `what` names it for people: `a cluster`.

    Raises:
        UserError: Names file, key path and what is allowed.
    """
    document = load_yaml(file)
    if not isinstance(document, dict):
        raise UserError(f"{file}: {what} is a mapping of keys, not {type(document).__name__}")
    try:
        return kind.model_validate(document)
    except ValidationError as error:
        raise from_pydantic(file, error) from error


def load_yaml(file: Path) -> Any:
    """Parse a YAML file.

    Raises:
        UserError: It cannot be read or is not YAML; a syntax error is told with line and column, from 1.
    """
    try:
        if file.is_file() and file.stat().st_size > MAX_BYTES:
            raise UserError(
                f"{file}: is larger than {MAX_BYTES >> 20} MiB, which no such file needs; name another file"
            )
        return yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # a subclass of the safe loader
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text (byte {error.start})") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{file}:{mark.line + 1}:{mark.column + 1}" if mark else str(file)
        raise UserError(f"{where}: is not valid YAML ({error.problem or error.context})") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: is not valid YAML ({' '.join(str(error).split())[:200]})") from None
