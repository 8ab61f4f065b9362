"""Third-party probes, orders and exports, found by their entry points.

Idea: a package says in its own pyproject.toml what it brings, and once it is installed a study, a mix or the command line
can name it; nothing here has to know of it.

    [project.entry-points."curriculum.probes"]          builtin: "plugin:parity"       in a study
    parity = "my_package.probes:parity"
    [project.entry-points."curriculum.orders"]          order: {by: "plugin:length"}   in a mix
    length = "my_package.orders:by_length"
    [project.entry-points."curriculum.exports"]         curriculum export MIX --to my-trainer
    my-trainer = "my_package.exports:target"

What each group's functions take and give is said where they are called: `probe.specification`, `plan.order_plugins`, `export`.

Alternatives: naming a Python file in the study (a file would then be code, and say nothing of its version), or a registry
filled by imports (somebody must import first). The price: a plugin must be installed, on every machine that takes part, and
is trusted as any installed package is. Looking a plugin up imports nothing; only `load` does.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from curriculum.errors import UserError

Group = Literal["curriculum.probes", "curriculum.orders", "curriculum.exports"]
PREFIX = "plugin:"
_KINDS: dict[Group, str] = {
    "curriculum.probes": "probe",
    "curriculum.orders": "order",
    "curriculum.exports": "export",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Plugin:
    """One entry point: `value` is "module:attribute", `distribution` the installed package that brings it."""

    group: Group
    name: str
    value: str
    distribution: str
    version: str

    @property
    def what(self) -> str:
        """How messages call it."""
        return f"{_KINDS[self.group]} plugin {self.name!r} ({self.value}, of {self.distribution} {self.version})"

    def load(self) -> Any:
        """Import and return what the entry point names. Raises UserError with the import's own reason if that fails."""
        try:
            return metadata.EntryPoint(self.name, self.value, self.group).load()
        except Exception as error:
            raise UserError(
                f"{self.what} cannot be loaded: {type(error).__name__}: {error}; mend or upgrade {self.distribution}, or "
                f"uninstall it (pip uninstall {self.distribution})"
            ) from error

    def function(self) -> Callable[..., Any]:
        """Return the function that the entry point names. Raises UserError if it cannot be loaded or called."""
        found = self.load()
        if not callable(found):
            raise UserError(f"{self.what}: wanted a function, got {found!r}; mend the entry point of {self.distribution}")
        return found  # type: ignore[no-any-return]  # `callable` says no more

    def identity(self) -> str:
        """Return what tells this plugin from a changed one: its package, version, place, and its module's bytes.

        The bytes tell editable installs apart, whose version stays; what that module imports is trusted to its version.
        Raises UserError if the module is not there.
        """
        module = self.value.partition(":")[0]
        try:
            specification = find_spec(module)
        except Exception as error:  # a parent package that fails when it is imported
            raise UserError(f"{self.what} cannot be found: {type(error).__name__}: {error}") from error
        if specification is None:
            raise UserError(f"{self.what} cannot be found: there is no module {module}; reinstall {self.distribution}")
        source = Path(specification.origin or "")
        digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16] if source.is_file() else "built-in"
        return f"{self.distribution} {self.version}, {self.value}, {digest}"


def plugins(group: Group) -> tuple[Plugin, ...]:
    """Return the installed plugins of a group by name, without importing any."""
    found = (_plugin(group, entry) for entry in metadata.entry_points(group=group))
    return tuple(sorted(found, key=lambda plugin: (plugin.name, plugin.distribution)))


def find_plugin(group: Group, name: str) -> Plugin:
    """Return an installed plugin by its name, without importing it.

    Raises UserError when there is none of this name, or when two packages bring one.
    """
    installed = plugins(group)
    named = [plugin for plugin in installed if plugin.name == name]
    if len(named) == 1:
        return named[0]
    if named:
        packages = " and ".join(plugin.distribution for plugin in named)
        raise UserError(f"{_KINDS[group]} plugin {name!r} is brought by {packages}; uninstall all but one")
    names = [plugin.name for plugin in installed]
    raise UserError(
        f"no {_KINDS[group]} plugin {name!r} is installed{_nearest(name, names)}; installed: {', '.join(names) or 'none'}. "
        f"Install the package that brings it (its entry point is of the group {group})"
    )


def plugin_name(text: str) -> str | None:
    """Return NAME of "plugin:NAME", or None for another text."""
    return text.removeprefix(PREFIX) if text.startswith(PREFIX) else None


def _plugin(group: Group, entry: metadata.EntryPoint) -> Plugin:
    distribution = entry.dist
    name, version = ("an unknown package", "?") if distribution is None else (distribution.name, distribution.version)
    return Plugin(group=group, name=entry.name, value=entry.value, distribution=name, version=version)


def _nearest(name: str, names: list[str]) -> str:
    found = difflib.get_close_matches(name, names, n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
