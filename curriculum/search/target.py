"""Repetition as in the target run: streams are subsampled once, so that a proxy sees as many epochs of each.

Idea: a proxy is thousands of times shorter than the run it stands for, so it never repeats a small stream that the full
run would repeat ten times; a search over ratios then takes too much of every small good stream. With `target: {samples:
N}` each stream of S samples is played from a subset of round(S x length / N): the same share of the run is then the same
number of epochs, whatever a trial's ratios. The subset is chosen once, by stream and study seed, and is the same for
every run. Held-out samples stay. Alternatives: capping epochs (says how often, not what repetition costs) or correcting
the result by a law of repeated data (fitted elsewhere). The price is that a small stream may be left with too few samples
to be subsampled: that is refused, since the few that were drawn would decide.

    played = with_target(study, sizes, tokens_per_sample)    what trains; study itself if it has no target
    mix = without_target(winner, study)                      what is written: all of every stream
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from curriculum.errors import FileError, UserError
from curriculum.mix import Document, Mix, Stream, Subset
from curriculum.search.study import Study

LEAST = 16  # samples of a subset


def target_samples(study: Study, tokens_per_sample: int | None) -> int | None:
    """Return the samples of the full run, or None without a target.

    `tokens_per_sample` is that of all streams (None: unknown, or they differ). Raises FileError if the target is in tokens
    and that is unknown, or is shorter than a proxy run.
    """
    target = study.target
    if target is None:
        return None
    if target.samples is not None:
        return target.samples
    if tokens_per_sample is None:
        raise _refused(
            study,
            "a target in tokens needs the tokens of a sample, the same for all streams, which their manifests do not say; "
            "give the target in samples: `target: {samples: N}`",
        )
    samples = (target.tokens or 0) // tokens_per_sample
    if samples < study.samples:
        raise _refused(
            study,
            f"the full run of {target.tokens:,} tokens has {samples:,} samples of {tokens_per_sample} tokens, fewer than the "
            f"{study.samples:,} of a proxy run (length.samples); give the full run's tokens, or shorten the proxy run",
        )
    return samples


def subset_sizes(study: Study, sizes: Mapping[str, int], tokens_per_sample: int | None) -> dict[str, int]:
    """Return how many of each stream's `sizes` samples a proxy run plays from; `sizes` themselves without a target.

    Streams whose size is not given are left out. Raises FileError for a stream that would be left with too few.
    """
    full_run = target_samples(study, tokens_per_sample)
    known = {name: size for name, size in sizes.items() if name in study.streams}
    if full_run is None:
        return {name: study.streams[name].played(size) for name, size in known.items()}
    shorter = Fraction(study.samples, full_run)
    found = {name: round(size * shorter) for name, size in known.items()}
    for name, count in found.items():
        if count < min(LEAST, known[name]):
            raise _refused(study, _too_few(study, name, known[name], count, full_run))
    return found


def with_target(study: Study, sizes: Mapping[str, int], tokens_per_sample: int | None) -> Study:
    """Return the study whose streams are subsets such that a proxy run repeats them as the full run will.

    `sizes` are the streams' samples, all of them. A stream that keeps all its samples stays as it is; without a target
    the study is returned unchanged. Raises FileError.
    """
    if study.target is None:
        return study
    counts = subset_sizes(study, sizes, tokens_per_sample)
    streams = {
        name: stream if counts[name] == sizes[name] else replace(stream, subset=Subset(samples=counts[name], seed=study.seed))
        for name, stream in study.streams.items()
    }
    return replace(study, streams=streams)


def without_target(mix: Mix, study: Study) -> Mix:
    """Return a mix of this study as the full run is to play it: all of every stream, where a target subsampled them."""
    if study.target is None:
        return mix
    return replace(mix, streams={name: replace(stream, subset=None) for name, stream in mix.streams.items()})


def conflict_with_target(name: str, stream: Stream) -> str | None:
    """Return why a study with a target cannot have this stream, or None if it can."""
    if stream.subset is not None:
        return (
            f"stream {name!r} has a subset of its own, but the study's target decides how much of each stream is played; "
            "remove one of the two"
        )
    if stream.order.kind in ("scored", "listed"):
        return (
            f"the {stream.order.kind} order of stream {name!r} is of windows of the whole stream, of which a target plays a "
            "subset; remove the order, or the target"
        )
    return None


def _too_few(study: Study, name: str, size: int, count: int, full_run: int) -> str:
    steps = 1 if study.command is not None else study.recipe.batch * study.recipe.readings  # runs are multiples of it
    least_length = -(-LEAST * full_run // (size * steps)) * steps
    longer = f"raise length.samples to {least_length:,} or more, " if least_length <= full_run else ""
    return (
        f"stream {name!r} has {size:,} samples; for a proxy run of {study.samples:,} samples to repeat it as a run of "
        f"{full_run:,} will, only {count} of them may be played, and fewer than {LEAST} say nothing; {longer}"
        f"merge the stream with another, add data, or leave `target` out"
    )


def _refused(study: Study, reason: str) -> UserError:
    """Return the error at the line of `target`, as far as the study's file still says it."""
    try:
        return Document.load(study.path).root.find(("target",)).fail(reason)
    except FileError:
        return FileError(f"target: {reason}", path=study.path)
