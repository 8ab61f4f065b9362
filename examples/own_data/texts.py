"""Three JSONL files of real text that every Python installation holds, for trying things without a network.

    python examples/own_data/texts.py texts [--megabytes 1]

    code.jsonl        the standard library's modules, without their documentation strings
    docstrings.jsonl  those strings
    manual.jsonl      the language reference, as `help()` shows it

Texts are Python's own (PSF licence) and depend on its version; none is part of this repository. Your own data takes their
place: one JSON object a line, {"text": ...}.
"""

from __future__ import annotations

import argparse
import ast
import json
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "pydoc_data"}
_LEAST = 40  # characters of a docstring that is more than a label
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description="Write three JSONL files of real text from this Python.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--megabytes", type=float, default=1.0, help="of each, at most")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    for name, texts in (("code", _code()), ("docstrings", _docstrings()), ("manual", _manual())):
        path = given.folder / f"{name}.jsonl"
        size = _write(path, texts, int(given.megabytes * 1e6))
        print(f"{path}: {size / 1e6:.2f} MB")


def _write(path: Path, texts: Iterator[str], most: int) -> int:
    """Write documents until there are `most` bytes; return how many there are."""
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for text in texts:
            if written >= most:
                break
            written += file.write(json.dumps({"text": text}) + "\n")
    return written


def _modules() -> Iterator[ast.Module]:
    library = Path(sysconfig.get_path("stdlib"))
    for path in sorted(library.rglob("*.py")):
        if _LEFT_OUT.isdisjoint(path.relative_to(library).parts):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old escapes in old modules
                yield ast.parse(path.read_bytes())


def _documented(module: ast.Module) -> Iterator[_Documented]:
    return (node for node in ast.walk(module) if isinstance(node, _Documented) and ast.get_docstring(node) is not None)


def _code() -> Iterator[str]:
    for module in _modules():
        for node in list(_documented(module)):
            node.body = node.body[1:] or [ast.Pass()]
        text = ast.unparse(module)
        if text:
            yield text


def _docstrings() -> Iterator[str]:
    for module in _modules():
        texts = [ast.get_docstring(node) or "" for node in _documented(module)]
        yield from (text for text in texts if len(text) >= _LEAST)


def _manual() -> Iterator[str]:
    from pydoc_data.topics import topics

    yield from topics.values()


if __name__ == "__main__":
    main()
