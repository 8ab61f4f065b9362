"""Every error a user can meet, in one tree.

Idea: the class decides the exit code, the message does the rest: what was wanted, what came, which item is to blame
and how to mend it. The command line prints the message without a traceback; library users catch the class.

    CurriculumError           something went wrong; exit code 1
      UserError               the user's mistake, to be mended in a file or on the command line; exit code 2
        FileError             a mix, study, probe or score file is wrong; carries file and line
        DataError             a stream, cache or checkpoint is missing, empty, broken or too small
        ChangedError          resuming under another mix, seed, data or study was refused
      RunError                a proxy run or an external command failed
      ResourceError           the machine refused: full disk, no memory, no network
"""

from __future__ import annotations

from pathlib import Path


class CurriculumError(Exception):
    """Root of all our errors; `exit_code` is what the command line returns."""

    exit_code = 1


class UserError(CurriculumError):
    """The user can mend this; the message says how."""

    exit_code = 2


class FileError(UserError):
    """A file says something wrong; the message begins with `file:line:`."""

    def __init__(self, message: str, *, path: Path | str | None = None, line: int | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.line = line
        where = "" if path is None else f"{path}:{line}: " if line is not None else f"{path}: "
        super().__init__(where + message)


class DataError(UserError):
    """Data that was named is missing, empty, damaged or too small."""


class ChangedError(UserError):
    """Something that must not change between stop and resume has changed."""


class RunError(CurriculumError):
    """A run broke: a diverged loss, a failed external command, a dead worker."""


class ResourceError(CurriculumError):
    """The machine could not give what was needed (disk, memory, network)."""
