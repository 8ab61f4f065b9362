"""`curriculum report`: a study as one page, and its pictures as files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rich.console import Console

from curriculum.commands.trials import study_folder
from curriculum.errors import ResourceError, UserError
from curriculum.proxy.run import load_run
from curriculum.report.figures_study import study_drawings
from curriculum.report.figures_style import save
from curriculum.report.page import render
from curriculum.report.study_report import StudyReport, read_study

PAGE = "report.html"
_PAGES = (".html", ".htm")
_FILES = (*_PAGES, ".svg", ".png", ".pdf", ".jpg", ".jpeg")  # no folder is called so on purpose


def report(
    study: Path | None,
    *,
    runs: Path = Path("runs"),
    storage: str | None = None,
    out: Path | None = None,
    figures: Path | None = None,
    tensorboard: Path | None = None,
) -> int:
    """Write a study's page, its `figures` and its runs' curves, and print where they are. Returns the exit code.

    `study` as for `curriculum trials`; a study that is under way or broke off is reported as far as it went. The page is
    replaced whole or not at all. Raises UserError, before any work, where TensorBoard is missing or a place is none for what
    is written there; DataError for no study or a damaged one; ResourceError where the page cannot be written.
    """
    _check_page(out)
    _check_folder(figures, "--figures", "pictures, each as SVG and as PNG")
    _check_folder(tensorboard, "--tensorboard", "event files")
    if tensorboard is not None:
        from curriculum.report.run_scalars import check_tensorboard

        check_tensorboard()
    console = Console(stderr=True)
    folder = study_folder(study, runs)
    with console.status("reading the runs"):
        found = read_study(folder, storage)
    page = out or folder / PAGE
    with console.status(f"drawing {len(found.runs)} runs"):
        _write(page, render(found))
        written = [str(page)]
        if figures is not None:
            written += [str(path) for drawing in study_drawings(found) for path in save(drawing, figures)]
    if tensorboard is not None:
        written.append(_write_curves(found, tensorboard, console))
    for line in written:
        print(line)
    return 0


def _check_page(out: Path | None) -> None:
    if out is None:
        return
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; wanted the page's file, such as {out / PAGE}")
    if out.suffix.lower() not in _PAGES:
        raise UserError(
            f"--out {out}: the page is HTML, so wanted a name that ends in .html, such as {out.with_suffix('.html')}; "
            "pictures as files are written by --figures DIR"
        )


def _check_folder(folder: Path | None, option: str, content: str) -> None:
    if folder is None:
        return
    is_file = folder.exists() and not folder.is_dir()
    if is_file or folder.suffix.lower() in _FILES:
        raise UserError(f"{option} {folder}: wanted a folder for {content}, and this {_what(is_file)}; try {folder.stem}/")


def _what(is_file: bool) -> str:
    return "is a file" if is_file else "has the name of a file"


def _write(page: Path, text: str) -> None:
    temporary = page.with_name(f".{page.name}.tmp")
    try:
        page.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(page)
    except OSError as error:
        with suppress(OSError):  # half a page would go on filling a full disk
            temporary.unlink(missing_ok=True)
        raise ResourceError(f"could not write {page}: {error.strerror or error}; make room, or give another --out") from error


def _write_curves(found: StudyReport, folder: Path, console: Console) -> str:
    from curriculum.report.run_scalars import write_scalars  # torch, which a page alone need not pay for

    with console.status("") as status:
        for number, run in enumerate(found.runs, start=1):
            status.update(f"curves of run {number} of {len(found.runs)}")
            result = load_run(run.folder)
            if result is not None:
                write_scalars(result, folder, {} if run.stopped else {"time_general": run.measures.time_general})
    return f"tensorboard --logdir {folder}"
