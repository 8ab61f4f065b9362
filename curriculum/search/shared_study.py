"""What a study was when the first of several processes began it.

Idea: processes that join a search each read a study file of their own. If two of these differed, both would take the
other's trials for theirs; so the first one writes its study down in the database, and the others must have the same.
Where the streams lie may differ from machine to machine: their data is known by digests.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from curriculum import __version__
from curriculum.errors import ChangedError
from curriculum.search.shared_runs import SharedRuns
from curriculum.search.storage import shown_url
from curriculum.search.study import Study, changed_study

_SHOWN_CHANGES = 12
_PLACES = ("local", "remote")


def remember_together(shared: SharedRuns, study: Study, data: Mapping[str, str]) -> str:
    """Make sure that all processes search the same study on the same data; return when it was begun.

    Raises ChangedError with the difference.
    """
    content = study.canonical()
    for stream in content["streams"].values():
        for place in _PLACES:
            stream.pop(place, None)
    now = {"study": content, "data": dict(data), "version": __version__}
    created = datetime.now(UTC).isoformat(timespec="seconds")
    there = shared.agree({**now, "created": created})
    changes = changed_study({name: there[name] for name in now}, now)
    if changes:
        listed = "\n  ".join(changes[:_SHOWN_CHANGES])
        raise ChangedError(
            f"the study {study.name!r} was begun with other settings in {shown_url(shared.guard.url)}:\n  {listed}\n"
            "use the same study file, data and version of curriculum as the processes that are at work there, or give the "
            "study another name"
        )
    return str(there["created"])
