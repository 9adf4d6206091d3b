"""Tiny random models of every supported family, as the hub would deliver them."""

from typing import Any

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from evaluators.inputs import Batch

VOCAB_SIZE = 96
_GROUPED: dict[str, Any] = {
    "vocab_size": VOCAB_SIZE,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
_PLAIN = {key: value for key, value in _GROUPED.items() if key != "num_key_value_heads"}
_ENCODER = {key: value for key, value in _PLAIN.items() if key not in {"bos_token_id", "eos_token_id"}}

TINY_MODELS: dict[str, tuple[type[PreTrainedModel], Any]] = {
    "llama": (LlamaForCausalLM, lambda: LlamaConfig(**_GROUPED, tie_word_embeddings=True)),
    "mistral": (MistralForCausalLM, lambda: MistralConfig(**_GROUPED, head_dim=8, sliding_window=5)),
    "qwen2": (Qwen2ForCausalLM, lambda: Qwen2Config(**_GROUPED)),
    "qwen3": (Qwen3ForCausalLM, lambda: Qwen3Config(**_GROUPED, head_dim=8)),
    "gemma2": (
        Gemma2ForCausalLM,
        lambda: Gemma2Config(**_GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=5),
    ),
    "gemma3_text": (
        Gemma3ForCausalLM,
        lambda: Gemma3TextConfig(
            **_GROUPED, head_dim=8, query_pre_attn_scalar=8, sliding_window=5, sliding_window_pattern=2
        ),
    ),
    "gpt2": (
        GPT2LMHeadModel,
        lambda: GPT2Config(
            vocab_size=VOCAB_SIZE, n_embd=32, n_layer=4, n_head=8, n_positions=64, bos_token_id=0, eos_token_id=0
        ),
    ),
    "gpt_neox": (GPTNeoXForCausalLM, lambda: GPTNeoXConfig(**_PLAIN)),
    "opt": (
        OPTForCausalLM,
        lambda: OPTConfig(
            **{key: value for key, value in _PLAIN.items() if key != "intermediate_size"},
            ffn_dim=24,
            word_embed_proj_dim=32,
        ),
    ),
    "phi3": (Phi3ForCausalLM, lambda: Phi3Config(**_GROUPED)),
    "bert": (BertForSequenceClassification, lambda: BertConfig(**_ENCODER)),
    "roberta": (RobertaForSequenceClassification, lambda: RobertaConfig(**_ENCODER)),
    "distilbert": (
        DistilBertForSequenceClassification,
        lambda: DistilBertConfig(
            vocab_size=VOCAB_SIZE, dim=32, n_layers=4, n_heads=8, hidden_dim=24, max_position_embeddings=64
        ),
    ),
}
DECODERS = tuple(name for name in TINY_MODELS if name not in {"bert", "roberta", "distilbert"})


def tiny_model(name: str, seed: int = 0) -> PreTrainedModel:
    """A random float32 model; its weights are large enough for every unit to matter."""
    model_class, make_config = TINY_MODELS[name]
    return random_model(model_class, make_config(), seed)


def random_model(model_class: type[PreTrainedModel], config: Any, seed: int = 0) -> PreTrainedModel:
    """As ``tiny_model``, of a class such as a decoder's with the head of a task."""
    torch.manual_seed(seed)
    model = model_class(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim > 1 else 0.5))
    return model


def token_ids(batch_size: int = 3, num_tokens: int = 12, seed: int = 1) -> torch.Tensor:
    """``(batch_size, num_tokens)`` int64, none of them padding."""
    return torch.randint(1, VOCAB_SIZE, (batch_size, num_tokens), generator=torch.Generator().manual_seed(seed))


def batches_of(*ids: torch.Tensor) -> list[Batch]:
    """Unlabelled batches without padding."""
    return [Batch(inputs={"input_ids": ids_BT}) for ids_BT in ids]
