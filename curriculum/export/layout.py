"""YAML as people write it in these trainers' repositories: blocks, with one-line mappings for weights.

Idea: PyYAML quotes and escapes; which mappings stand on one line is said by the type `Inline`. A head of comments says
where the file comes from, so that a file found a year later can be traced to its mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from curriculum import __version__
from curriculum.mix import Mix


class Inline(dict[str, Any]):
    """A mapping on one line."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _inline(dumper: Any, value: Inline) -> yaml.Node:
    node: yaml.Node = dumper.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)
    return node


_Dumper.add_representer(Inline, _inline)


def yaml_text(content: Mapping[str, Any], head: str) -> str:
    """Return a document under comment lines."""
    body = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**20, default_flow_style=False)
    return head + str(body)


def head_of(mix: Mix, target: str, *lines: str) -> str:
    """Return the comment lines that open an exported text file."""
    origin = f"Mix {mix.name!r} for {target}, written by curriculum {__version__}; fingerprint {mix.fingerprint()[:16]}."
    return "".join(f"# {line}\n" for line in (origin, *lines))
