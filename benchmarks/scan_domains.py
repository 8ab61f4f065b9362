"""Real texts on which the scan's formula was not made, beside those of `examples/real_text`: five more Debian packages.

They are fetched and packed as that example's are, with the example's own tokenizer (trained on its six domains alone), so
that one checkpoint and one set of probe items serve all domains.
"""

from __future__ import annotations

import gzip
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "real_text"
sys.path.insert(0, str(EXAMPLE))

from domains import DEFAULT_DOMAINS, DOMAINS, Domain, _deb_files  # noqa: E402
from download import download  # noqa: E402
from run import pack_domains, prepare  # noqa: E402

DESIGN = ("code", "reviews", "scripture")  # the formula was chosen on these and on the testbed
FRESH = ("drama", "encyclopedia", "french", "manual", "novels", "german-manual", "spanish-manual", "quotes", "mathematics")


def _manuals(language: str) -> Callable[[Path], Iterator[str]]:
    def documents(package: Path) -> Iterator[str]:
        for name, raw in _deb_files(package):
            if re.search(rf"/man/{language}/man\d/.*\.gz$", name):
                lines = gzip.decompress(raw).decode("utf-8", errors="replace").splitlines()
                yield "\n".join(line for line in lines if not line.startswith(('.\\"', "'\\\""))) + "\n"

    return documents


def _quotes(package: Path) -> Iterator[str]:
    for name, raw in _deb_files(package):
        if "/games/fortunes/" in name and not name.endswith((".dat", ".u8")):
            yield from (f"{quote.strip()}\n" for quote in raw.decode("utf-8", errors="replace").split("\n%\n"))


def _mathematics(package: Path) -> Iterator[str]:
    for name, raw in _deb_files(package):
        if name.endswith(".py") and "/tests/" not in name:
            yield raw.decode("utf-8", errors="replace")


MORE: dict[str, Domain] = {
    "german-manual": Domain(fetcher="apt", package="manpages-de", documents=_manuals("de")),
    "spanish-manual": Domain(fetcher="apt", package="manpages-es", documents=_manuals("es")),
    "quotes": Domain(fetcher="apt", package="fortunes", documents=_quotes),
    "mathematics": Domain(fetcher="apt", package="python3-sympy", documents=_mathematics),
}


def prepared(data: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return {domain: packed stream} of all domains and {family: file} of the example's probe items."""
    example = prepare(data, DEFAULT_DOMAINS)
    DOMAINS.update(MORE)
    others = [name for name in FRESH if name not in DEFAULT_DOMAINS]
    texts = {name: download(data / "more" / name, [name])[name] for name in others}  # apart: packages' names share beginnings
    packs = pack_domains(texts, data / "tokenizer.json", data / "streams")
    return {**example.streams, **{name: result.folder for name, result in packs.items()}}, dict(example.probes)
