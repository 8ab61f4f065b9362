"""The guard around torchvision: the real one where it works, a stand-in only while `streaming` is being imported."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

from curriculum.streaming.torchvision_guard import torchvision_or_stand_in


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test import its own torchvision, and leave things as they were."""
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, first_line: str) -> None:
    """Put a torchvision on the path whose top begins with `first_line`."""
    files = {
        "__init__.py": first_line,
        "datasets.py": "class VisionDataset: real = True\nclass CIFAR10: pass",
        "transforms/__init__.py": "",
        "transforms/functional.py": "def to_tensor(image): return image",
    }
    for name, text in files.items():
        path = folder / "torchvision" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(str(folder))


def test_a_working_torchvision_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "works = True")
    with torchvision_or_stand_in():
        assert import_module("torchvision").works
        assert import_module("torchvision.datasets").VisionDataset.real
    assert sys.modules["torchvision"].works


@pytest.mark.parametrize(
    "failure",
    [
        "raise RuntimeError('operator torchvision::nms does not exist')",
        "raise OSError('libcudart.so.13: cannot open shared object file')",
        "raise ImportError('no wheels for this platform')",
    ],
)
def test_a_broken_torchvision_is_stood_in_for_and_then_met_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    install(tmp_path, monkeypatch, failure)
    cause = failure.split("'")[1]
    with torchvision_or_stand_in():
        datasets = import_module("torchvision.datasets")
        functional = import_module("torchvision.transforms.functional")
    for use in (datasets.VisionDataset, datasets.CIFAR10, functional.to_tensor):
        with pytest.raises(ImportError, match=cause):
            use()
    assert not [name for name in sys.modules if name.startswith("torchvision")]
    with pytest.raises((RuntimeError, OSError, ImportError), match=cause):
        import_module("torchvision")


def test_the_stand_in_goes_even_if_the_import_inside_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, monkeypatch, "raise RuntimeError('broken')")
    with pytest.raises(ZeroDivisionError), torchvision_or_stand_in():
        _ = 1 / 0
    assert "torchvision" not in sys.modules


def test_mosaic_can_be_imported_here() -> None:
    assert import_module("curriculum.streaming").StreamingDataset.__mro__[1].__module__.startswith("streaming.")
