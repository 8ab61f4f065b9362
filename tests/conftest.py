"""What holds for every test: properties are tried on the same examples everywhere, and none fails for being slow."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("everywhere", deadline=None, derandomize=True)
settings.load_profile("everywhere")
