"""A target by name: ours, or one that an installed package offers.

Idea: third-party targets are entry points in the group `curriculum.exports` (see `curriculum.plugins`); only the one that
is asked for is loaded, so a broken package cannot break another's export. Ours come first: a package cannot quietly
replace what the documentation describes.
"""

from __future__ import annotations

from importlib import import_module

from curriculum.errors import UserError
from curriculum.export.capabilities import CAPABILITIES
from curriculum.export.target import Target
from curriculum.mix.fields import nearest
from curriculum.plugins import find_plugin, plugins

_MODULES = {"datasets": "huggingface"}  # where the module's name is not the target's: it would hide the package


def target_names() -> list[str]:
    """Return every name that `--to` takes, ours first."""
    own = [capability.name for capability in CAPABILITIES]
    return own + [plugin.name for plugin in plugins("curriculum.exports") if plugin.name not in own]


def find_target(name: str) -> Target:
    """Return the target. Raises UserError: no such name, or a package whose entry point is no Target."""
    for capability in CAPABILITIES:
        if capability.name == name:
            module = import_module(f"curriculum.export.{_MODULES.get(name, name.replace('-', '_'))}")
            return Target(capability=capability, export=module.export)
    names = target_names()
    if name in names:
        return _offered(name)
    raise UserError(f"--to {name!r}: no such target{nearest(name, names)}; targets: {', '.join(names)}")


def _offered(name: str) -> Target:
    plugin = find_plugin("curriculum.exports", name)
    target = plugin.load()
    if not isinstance(target, Target):
        raise UserError(
            f"{plugin.what}: wanted a curriculum.export.target.Target, got {type(target).__name__}; "
            f"mend the entry point of {plugin.distribution}"
        )
    return target
