"""A causal network of the transformers library as one operation: read tokens, after others or not, and look at some places.

Idea: a prefix, the prompts that continue it and the answers that continue those are three calls of `Reader.extend`. Only
the places asked for pass the unembedding: a hook picks them from what enters it, whatever the model does to its logits
afterwards (soft caps, scales). While rows are read their padding stands on the right, where a causal network cannot see
it; so no mask is needed, and the quickest attention kernel can be used. Alternatives: the library's `logits_to_keep` (the
same places for every row), its `generate` (one growing batch, no log-probabilities of given text).

The price: keys and values can be continued this way only where they depend on nothing but tokens and positions. Up to
which length that holds (`reusable`) is decided by the kind of cache that the network makes, and then by comparing results.
Beyond it, sequences are read whole.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from curriculum.errors import ResourceError, UserError
from curriculum.models.key_values import KeyValues, LayerCache, Past

_TOLERANCE = 1e-3  # of the logits' standard deviation, between two ways of reading the same
_COARSE_TOLERANCE = 0.1  # in bfloat16 and float16, where rounding alone moves some logit by some hundredths of it
_TRIED = 9  # tokens of the longest sequence with which a network is tried
_LENGTHENED = ("dynamic", "longrope")  # rotary positions whose angles change beyond the length trained on


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A place in a batch: `position` counts from the first token given for `row`."""

    row: int
    position: int


class Reader:
    """Reads with `network`, any causal language model of the library; `context` is its longest sequence in tokens,
    `vocabulary` the number of its token ids.

    `reusable`: the longest sequence, in tokens, that may be continued from keys and values; 0 is none.
    Raises UserError for a network that is not causal.
    """

    def __init__(self, network: nn.Module, *, context: int) -> None:
        self.network, self.context = network, context
        self.vocabulary: int = cast(Any, network).config.get_text_config().vocab_size
        self._unembedding = cast("nn.Module | None", cast(Any, network).get_output_embeddings())
        self._takes_positions = "position_ids" in inspect.signature(network.forward).parameters
        self._layers, collects = _kind_of_cache(self)
        self.reusable = 0
        if context >= _TRIED:  # shorter is a toy
            _check_causal(self)
            self.reusable = min(collects, context) if collects and _continues_rightly(self) else 0

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @torch.no_grad()
    def extend(
        self,
        tokens: Sequence[Sequence[int]],
        wanted: Sequence[Place],
        *,
        past: KeyValues | None = None,
        rows: Sequence[int] = (),
    ) -> Tensor:
        """Return the logits at the wanted places, (places, vocabulary), float32.

        Sequence i of `tokens` continues row `rows[i]` of the `past`, where there is one. Raises ResourceError when the
        device's memory does not hold the batch.
        """
        after = None if past is None else Past(past, rows, self.device)
        cache = None if after is None else self._cache(after, keep=False)
        return self._read(tokens, wanted, after, cache)

    @torch.no_grad()
    def begin(
        self, tokens: Sequence[Sequence[int]], wanted: Sequence[Place], *, before: KeyValues | None = None
    ) -> tuple[Tensor, KeyValues]:
        """Return what `extend` does, and what was read, to be continued. `before`: a single row to continue from."""
        after = None if before is None else Past(before, [0] * len(tokens), self.device)
        cache = self._cache(after, keep=True)
        logits = self._read(tokens, wanted, after, cache)
        layers = [(layer.keys, layer.values) for layer in cache.layers]
        return logits, KeyValues(layers=layers, lengths=tuple(len(row) for row in tokens), before=before)

    def grow(self, tokens: Tensor, cache: Any, mask: Tensor) -> Tensor:
        """Return the logits (rows, vocabulary), float32, after one more token a row, `tokens` (rows,), which enter `cache`.

        `mask`: which columns hold tokens, the new one included, bool (rows, columns).
        """
        options: dict[str, Any] = {"attention_mask": mask.long()}
        if self._takes_positions:
            options["position_ids"] = mask.sum(dim=1, keepdim=True) - 1
        with torch.no_grad():
            logits = self.network(input_ids=tokens[:, None], past_key_values=cache, use_cache=True, **options).logits
        return cast(Tensor, logits[:, -1].float())

    def _read(self, tokens: Sequence[Sequence[int]], wanted: Sequence[Place], after: Past | None, cache: Any) -> Tensor:
        padded = _padded(tokens, self.device)
        with self._only_at(wanted), _memory_in_words(padded):
            logits = self.network(input_ids=padded, **self._options(padded, after, cache)).logits
        if self._unembedding is None:
            logits = _picked(logits, wanted)
        return cast(Tensor, logits[0].float())

    def _options(self, tokens: Tensor, after: Past | None, cache: Any) -> dict[str, Any]:
        if cache is None:
            return {"use_cache": False}
        options: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if after is None:
            return options
        mask = after.mask()
        if mask is not None:
            options["attention_mask"] = torch.cat([mask, torch.ones_like(tokens, dtype=torch.bool)], dim=1).long()
        if self._takes_positions:
            positions = after.lengths[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
            options["position_ids"] = positions.clamp(max=self.context - 1)  # padding may stand beyond the last place
        return options

    def _cache(self, after: Past | None, *, keep: bool) -> Any:
        from transformers import DynamicCache

        cache: Any = DynamicCache()
        cache.layers = [LayerCache(after, number, keep=keep) for number in range(self._layers)]
        return cache

    @contextmanager
    def _only_at(self, wanted: Sequence[Place]) -> Iterator[None]:
        """Let only the wanted places pass the unembedding, as a batch of one row."""
        if self._unembedding is None:
            yield
            return
        handle = self._unembedding.register_forward_pre_hook(lambda _, inputs: (_picked(inputs[0], wanted), *inputs[1:]))
        try:
            yield
        finally:
            handle.remove()


def growing_cache(found: KeyValues, rows: Sequence[int], device: torch.device) -> tuple[Any, Tensor]:
    """Return a cache of the library that holds these rows, and which columns of it are tokens, bool (rows, columns)."""
    from transformers import DynamicCache

    past, cache = Past(found, rows, device), DynamicCache()
    for number in range(len(found.layers)):
        cache.update(*past.layer(number), number)
    mask = past.mask()
    return cache, torch.ones(len(rows), past.width, dtype=torch.bool, device=device) if mask is None else mask


def _picked(states: Tensor, wanted: Sequence[Place]) -> Tensor:
    """Return states (rows, time, width) at the wanted places, (1, places, width)."""
    rows = torch.tensor([place.row for place in wanted], device=states.device)
    positions = torch.tensor([place.position for place in wanted], device=states.device)
    return states[rows, positions][None]


def _padded(tokens: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return int64 (rows, longest), padded on the right with each row's last token: any id does, since nothing sees it."""
    longest = max(len(row) for row in tokens)
    return torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in tokens], device=device)


@contextmanager
def _memory_in_words(tokens: Tensor) -> Iterator[None]:
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        rows, time = tokens.shape
        raise ResourceError(
            f"the {tokens.device.type}'s memory does not hold a batch of {rows} x {time} tokens; open the model with a smaller "
            "batch_tokens"
        ) from error


@torch.no_grad()
def _kind_of_cache(reader: Reader) -> tuple[int, int]:
    """Return the layers of the network's cache, and the length up to which each of them only collects (0 is not at all).

    A window that slides, or chunks, make no difference to sequences that fit into one.
    """
    from transformers import DynamicCache

    found = reader.network(input_ids=torch.zeros(1, 1, dtype=torch.int64, device=reader.device), use_cache=True)
    cache: Any = getattr(found, "past_key_values", None)
    if type(cache) is not DynamicCache:
        return 0, 0
    layers: list[Any] = cache.layers
    kinds = {type(layer).__name__ for layer in layers}
    if not kinds <= {"DynamicLayer", "DynamicSlidingWindowLayer"}:
        return 0, 0
    windows = [layer.sliding_window for layer in layers if layer.is_sliding]
    return len(layers), min([*windows, *_trained_length(reader.network), sys.maxsize])


def _trained_length(network: nn.Module) -> list[int]:
    """Return the length beyond which rotary angles change for the whole sequence, if there is one."""
    config = cast(Any, network).config.get_text_config()
    scaling = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    if scaling.get("rope_type", scaling.get("type")) not in _LENGTHENED:
        return []
    return [int(getattr(config, "original_max_position_embeddings", None) or config.max_position_embeddings)]


def _check_causal(reader: Reader) -> None:
    """Raise UserError if a later token changes what a network says after an earlier one."""
    first, second = reader.extend([_sample(reader, 4), _sample(reader, 6)], [Place(row=row, position=3) for row in (0, 1)])
    if not _alike(reader, first, second):
        name = type(reader.network).__name__
        raise UserError(
            f"{name} is no causal language model: what it says after a token depends on later ones; open one that is"
        )


def _continues_rightly(reader: Reader) -> bool:
    """Compare rows of unequal length that are read in three parts with the same rows read whole."""
    whole = [_sample(reader, 7), _sample(reader, _TRIED)]
    _, before = reader.begin([whole[0][:3]], [Place(row=0, position=2)])
    _, middle = reader.begin([whole[0][3:5], whole[1][3:7]], [Place(row=0, position=0)], before=before)
    ends = [Place(row=0, position=1), Place(row=1, position=1)]
    parts = reader.extend([whole[0][5:], whole[1][7:]], ends, past=middle, rows=[0, 1])
    fresh = reader.extend(whole, [Place(row=0, position=6), Place(row=1, position=8)])
    return _alike(reader, parts, fresh)


def _sample(reader: Reader, length: int) -> list[int]:
    """Return tokens to try a network on, the shorter the beginning of the longer."""
    return [(7 * place + 1) % reader.vocabulary for place in range(length)]


def _alike(reader: Reader, first: Tensor, second: Tensor) -> bool:
    fine = next(reader.network.parameters()).dtype in (torch.float32, torch.float64)
    difference = (first - second).abs().max() / second.std()
    return not bool(difference > (_TOLERANCE if fine else _COARSE_TOLERANCE))  # true of NaN, which whoever asks is told of
