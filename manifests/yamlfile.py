"""Reading YAML that people wrote: safe, and strict about keys that stand twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from manifests.errors import UserError

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):
    """The safe loader, which also refuses a key that a mapping has twice instead of taking the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                problem = f"the key {key.value!r} stands twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def load_yaml(file: Path) -> Any:
    """Parse a YAML file.

    Raises:
        UserError: It cannot be read or is not YAML; a syntax error is told with line and column, from 1.
    """
    try:
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
