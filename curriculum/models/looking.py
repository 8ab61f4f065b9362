"""Looking into a network as it runs: what leaves its layers, and how its routers choose experts.

Idea: hooks on the modules themselves. They see the same thing in every library and version, where outputs differ: some
return the last hidden state normalised, some routing logits before and some after a softmax. Alternatives:
`output_hidden_states` and `output_router_logits`. The price: layers and routers are found by shape and name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from curriculum.models.gradients import layers_of

_ROUTER_NAMES = ("gate", "router")


def layer_outputs(module: nn.Module, run: Callable[[], object]) -> list[Tensor]:
    """Return what enters the first layer and leaves every layer while `run` runs the network once."""
    _, layers = layers_of(module)
    states: list[Tensor] = []
    handles = [_at_entrance(layers[0], states)]
    handles += [layer.register_forward_hook(lambda _, inputs, output: states.append(_leaving(output))) for layer in layers]
    with _removed(handles):
        run()
    return states


def routers_of(module: nn.Module, experts: int) -> list[nn.Module]:
    """Return the modules named gate or router with a weight (experts, width), in order."""
    named = [part for name, part in module.named_modules() if name.rpartition(".")[2] in _ROUTER_NAMES]
    return [part for part in named if _weight(part) is not None and cast(Tensor, _weight(part)).shape[0] == experts]


def router_rows(routers: Sequence[nn.Module]) -> list[Tensor]:
    """Return each router's matrix, (experts, width)."""
    return [cast(Tensor, _weight(router)) for router in routers]


def routing_weights(routers: Sequence[nn.Module], run: Callable[[], object], shape: tuple[int, int]) -> list[Tensor]:
    """Return each router's softmax over all experts, (batch, time, experts), while `run` runs; `shape`: (batch, time)."""
    entering: list[Tensor] = []
    with _removed([_at_entrance(router, entering) for router in routers]):
        run()
    return [
        functional.linear(states, cast(Tensor, _weight(router)), cast("Tensor | None", getattr(router, "bias", None)))
        .float()
        .softmax(dim=-1)
        .view(*shape, -1)
        for router, states in zip(routers, entering, strict=True)
    ]


def _weight(module: nn.Module) -> Tensor | None:
    weight = getattr(module, "weight", None)
    return weight if isinstance(weight, Tensor) and weight.dim() == 2 else None


def _at_entrance(module: nn.Module, states: list[Tensor]) -> RemovableHandle:
    """Append what enters `module` to `states` whenever it runs."""

    def record(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        states.append(inputs[0] if inputs else named["hidden_states"])

    return module.register_forward_pre_hook(record, with_kwargs=True)


def _leaving(output: Any) -> Tensor:
    return cast(Tensor, output[0] if isinstance(output, tuple) else output)


@contextmanager
def _removed(handles: Sequence[RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
