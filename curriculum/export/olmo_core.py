"""OLMo-core: its file of global indices, written from the plan; or a static source mixture.

Idea: OLMo-core's loader reads the order of an epoch from `global_indices_...npy`, raw 32-bit instance numbers over all
files, and uses the file if it is there. An instance is `sequence_length` tokens of a raw file, cut as our npy and megatron
streams are cut, so the plan can be written down to the sample. An epoch of OLMo-core's holds as many instances as its
files; a longer run becomes several epochs, each with its file. Alternatives: one mixing source per stage on disjoint
splits (no ramps, data split beforehand). The price: 4 bytes a sample, and streams must lie in raw token files of one kind.
Where they do not, a static mix is written as OLMo-core's `sources`, with places from the user.

Pinned to ai2-olmo-core 3.0 (data/data_loader.py, NumpyFSLDataLoader; data/source_mixture.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from curriculum.errors import UserError
from curriculum.export.deviation import deviations, exact, largest
from curriculum.export.layout import Inline, head_of, yaml_text
from curriculum.export.places import given_place, ignored_orders, place_of
from curriculum.export.staircase import in_batches, is_static, whole_run
from curriculum.export.target import Outcome, Request

if TYPE_CHECKING:
    from curriculum.streaming.token_files import TokenSource

_AT_ONCE = 65_536
_MOST_INSTANCES = 2**32 - 2
_SEED = 0  # of the loader: part of the file's name
_NEAREST = "streams in raw token files (format: npy or megatron), which carry the exact order; or --nearest: one mixture"

_MODULE = '''"""The run for OLMo-core: files and loader; the order lies in work_dir/global_indices_*.npy, an epoch a file.

Train for MAX_TOKENS tokens: the last epoch is shorter than the loader believes.
"""

from pathlib import Path

from olmo_core.data import NumpyDataLoaderConfig, NumpyDatasetDType, NumpyFSLDatasetConfig, TokenizerConfig

MAX_TOKENS = {tokens}
GLOBAL_BATCH_SIZE = {batch}  # tokens
PATHS = {paths!r}


def dataset_config(tokenizer: TokenizerConfig) -> NumpyFSLDatasetConfig:
    """Return the files, in the order that the indices count them."""
    return NumpyFSLDatasetConfig(
        paths=PATHS, sequence_length={length}, tokenizer=tokenizer, dtype=NumpyDatasetDType.{dtype}, work_dir=work_dir()
    )


def loader_config() -> NumpyDataLoaderConfig:
    """Return the loader whose seed and folder the index files are named after."""
    return NumpyDataLoaderConfig(global_batch_size=GLOBAL_BATCH_SIZE, seed={seed}, work_dir=work_dir())


def work_dir() -> str:
    """Return the folder of the index files."""
    return str(Path(__file__).resolve().parent / "work_dir")
'''


@dataclass(frozen=True, kw_only=True, slots=True)
class _Files:
    """Raw token files of one kind: `starts` is each stream's first instance, in the order of the mix."""

    paths: list[str]
    dtype: str
    length: int
    instances: int
    starts: npt.NDArray[np.int64]


def export(request: Request) -> Outcome:
    """Write index files and a module, or a mixture. Raises UserError, DataError (damaged files), ResourceError (disk)."""
    batch = request.whole("batch_size")
    found = _files(request)
    if isinstance(found, _Files):
        return _export_order(request, found, batch)
    if not is_static(request.mix) and not request.nearest:
        why = f"OLMo-core's mixtures have one ratio for the whole run, and its index files cannot be used: {found}"
        return Outcome(verdict="impossible", why=(why,), nearest=_NEAREST)
    return _export_mixture(request, found, batch)


def _files(request: Request) -> _Files | str:
    """Return the streams' files, or in words why their instances cannot be numbered."""
    from curriculum.streaming.token_files import find_tokens

    sources = {}
    for name, stream in request.mix.streams.items():
        if given_place(request.places, name) is not None:
            return f"--path puts stream {name!r} where its files cannot be counted"
        if stream.format == "mds":
            return f"stream {name!r} is mds, which OLMo-core does not read"
        sources[name] = find_tokens(name, stream)
    reason = _no_table(sources)
    if reason is not None:
        return reason
    first = next(iter(sources.values()))
    sizes = [source.index.samples for source in sources.values()]
    return _Files(
        paths=[str(file.path) for source in sources.values() for file in source.files],
        dtype=first.files[0].dtype,
        length=first.sequence_length,
        instances=sum(sizes),
        starts=np.cumsum([0, *sizes[:-1]]),
    )


def _no_table(sources: dict[str, TokenSource]) -> str | None:
    lengths = {name: source.sequence_length for name, source in sources.items()}
    if len(set(lengths.values())) > 1:
        return f"the streams' samples have different lengths: {lengths}"
    dtypes = {file.dtype for source in sources.values() for file in source.files}
    if len(dtypes) > 1 or not dtypes <= {"uint8", "uint16", "uint32", "uint64"}:
        return f"their tokens are {', '.join(sorted(dtypes))}; OLMo-core wants one unsigned type"
    for name, source in sources.items():
        for file in source.files:
            if file.offset:
                return f"stream {name!r}: {file.path} has numpy's header, which OLMo-core would read as tokens"
    return None


def _export_order(request: Request, files: _Files, batch: int) -> Outcome:
    per_epoch, stop = in_batches(files.instances, batch), in_batches(request.plan.samples, batch)
    if files.instances > _MOST_INSTANCES:
        raise UserError(f"OLMo-core numbers at most {_MOST_INSTANCES:,} instances, the streams have {files.instances:,}")
    for epoch, start in enumerate(range(0, stop, per_epoch), start=1):
        end = min(start + per_epoch, stop)
        name = f"work_dir/global_indices_dataset_size{files.instances}_epoch{epoch}_seed{_SEED}_v1.npy"
        request.output.arrays({name: "<u4"}, end - start, _instances(request, files, start, end), raw=True)
    module = _MODULE.format(
        tokens=stop * files.length,
        batch=batch * files.length,
        paths=files.paths,
        length=files.length,
        dtype=files.dtype,
        seed=_SEED,
    )
    request.output.text(head_of(request.mix, "OLMo-core") + module, "olmo_core_mix.py")
    rest = request.plan.samples - stop
    return Outcome(
        verdict="lossless",
        deviations=exact(request),
        files=tuple(request.output.written),
        use=f"from olmo_core_mix import dataset_config, loader_config; train for {stop * files.length:,} tokens",
        notes=(f"the last {rest} samples fill no batch and are not played",) if rest else (),
    )


def _instances(request: Request, files: _Files, start: int, stop: int) -> Iterator[tuple[npt.NDArray[np.int64]]]:
    for begin in range(start, stop, _AT_ONCE):
        end = min(begin + _AT_ONCE, stop)
        streams, _, samples = request.plan[np.arange(begin, end)]
        request.progress(end, request.plan.samples, "positions")
        yield (files.starts[streams] + samples,)


def _export_mixture(request: Request, reason: str, batch: int) -> Outcome:
    length = request.whole("sequence_length")
    totals = request.plan.counts(0, request.plan.samples)
    stop = in_batches(request.plan.samples, batch)
    sources = [_source(request, name, totals) for name in request.mix.streams if totals[name]]
    config = {"requested_tokens": stop * length, "global_batch_size": batch * length, "source_list": {"sources": sources}}
    request.output.text(yaml_text(config, head_of(request.mix, "OLMo-core")), "source_mixture.yaml")
    stages = (whole_run(request.plan),)
    found, static = deviations(request, stages, randomness="dealt"), is_static(request.mix)
    why = f"the exact order is not written: {reason}"
    return Outcome(
        verdict="approximated" if static else "impossible",
        why=(largest(found), why, "the loader shuffles all that the mixture selected"),
        nearest=None if static else _NEAREST,
        deviations=found,
        files=tuple(request.output.written),
        use="SourceMixtureDatasetConfig(**yaml): give source_list, requested_tokens and global_batch_size of the file",
        notes=(*ignored_orders(request.mix), *_idle(request, totals)),
    )


def _source(request: Request, name: str, totals: dict[str, int]) -> dict[str, object]:
    """Return a stream's section; a stream that is repeated may be repeated, and no more than that."""
    size = request.sizes[name]
    epochs = max(1, -(-totals[name] // size)) if size else 1
    place = place_of(request, name, reads="raw token files", formats=("npy",))
    return Inline(
        source_name=name,
        target_ratio=totals[name] / request.plan.samples,
        paths=[place],
        max_repetition_ratio=float(epochs),
    )


def _idle(request: Request, totals: dict[str, int]) -> tuple[str, ...]:
    idle = [name for name in request.mix.streams if not totals[name]]
    return (f"{', '.join(map(repr, idle))} has no sample in this run and is not listed",) if idle else ()
