"""Tiny networks with random weights, a tokenizer of bytes, and the plain way of scoring that ours is held against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from curriculum.models.hugging_face import HuggingFaceModel
from curriculum.probe.model import Numbers
from curriculum.streaming.torchvision_guard import torchvision_or_stand_in

VOCABULARY, CONTEXT = 258, 96  # 256 bytes, a beginning and an end
BEGINNING, END = 256, 257


@cache
def library() -> ModuleType:
    with torchvision_or_stand_in():
        import transformers
    return transformers


COMMON = {
    "vocab_size": VOCABULARY,
    "initializer_range": 0.3,
    "bos_token_id": BEGINNING,
    "eos_token_id": END,
}  # .3: far from even
LLAMA_LIKE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "pad_token_id": None,
}
CONFIGURATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", LLAMA_LIKE),
    "gpt2": ("GPT2", {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}),
    "neox": ("GPTNeoX", {**LLAMA_LIKE, "num_key_value_heads": None}),
    "mistral": ("Mistral", {**LLAMA_LIKE, "sliding_window": 12}),
    "gemma2": ("Gemma2", {**LLAMA_LIKE, "sliding_window": 12, "head_dim": 8, "final_logit_softcapping": 2.0}),
    "mamba": ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}),
    "olmoe": ("Olmoe", {**LLAMA_LIKE, "num_experts": 4, "num_experts_per_tok": 2}),
    "mixtral": ("Mixtral", {**LLAMA_LIKE, "num_local_experts": 4, "num_experts_per_tok": 2}),
}
ENDS_OF_NAMES = {"gpt2": "LMHeadModel"}


def network(kind: str, **changes: Any) -> Any:
    """Return a network whose weights depend on nothing but `kind`."""
    name, options = CONFIGURATIONS[kind]
    configuration = getattr(library(), f"{name}Config")(**{**COMMON, **options, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = getattr(library(), name + ENDS_OF_NAMES.get(kind, "ForCausalLM"))(configuration)
    return made.eval()


@cache
def tokenizer() -> Any:
    """Return a tokenizer of bytes that would put a beginning and an end around every text, and has no padding token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    plain.add_special_tokens(["<s>", "</s>"])
    plain.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BEGINNING), ("</s>", END)]
    )
    return library().PreTrainedTokenizerFast(tokenizer_object=plain, bos_token="<s>", eos_token="</s>")


def model(kind: str, *, batch_tokens: int = 128, **changes: Any) -> HuggingFaceModel:
    return HuggingFaceModel(network(kind, **changes), tokenizer(), batch_tokens=batch_tokens)


@torch.no_grad()
def plainly(module: Any, prompt: Sequence[int], answer: Sequence[int]) -> Numbers:
    """Return an answer's log-probabilities, alone and in one piece."""
    logits = module(input_ids=torch.tensor([[*prompt, *answer[:-1]]])).logits[0].double()
    places = torch.arange(len(prompt) - 1, len(prompt) + len(answer) - 1)
    found: Numbers = torch.log_softmax(logits, dim=-1)[places, torch.tensor(answer)].numpy()
    return found


@contextmanager
def counted(module: Any) -> Iterator[dict[str, int]]:
    """Count the tokens that enter a network, and the places at which it makes logits."""
    counts = {"tokens": 0, "logits": 0}

    def note(name: str, states: torch.Tensor) -> None:
        counts[name] += states.shape[0] * states.shape[1]

    handles = [
        module.get_input_embeddings().register_forward_hook(lambda _, inputs, output: note("tokens", output)),
        module.get_output_embeddings().register_forward_hook(lambda _, inputs, output: note("logits", output)),
    ]
    yield counts
    for handle in handles:
        handle.remove()
