"""`curriculum report`: a study as one page, and its pictures as files."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rich.console import Console

from curriculum.commands.trials import study_folder
from curriculum.errors import ResourceError
from curriculum.proxy.run import load_run
from curriculum.report.figures_study import study_drawings
from curriculum.report.figures_style import save
from curriculum.report.page import render
from curriculum.report.study_report import StudyReport, read_study

PAGE = "report.html"


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
    replaced whole or not at all. Raises DataError for no study or a damaged one, UserError where TensorBoard is missing,
    ResourceError where the page cannot be written.
    """
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
                write_scalars(result, folder)
    return f"tensorboard --logdir {folder}"
