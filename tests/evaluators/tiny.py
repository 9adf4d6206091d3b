"""Tiny random models and a tokenizer of words, made on the spot."""

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
)

WORDS = ("[PAD]", "[UNK]", "[EOS]", *(f"w{number}" for number in range(61)))


def tokenizer() -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", eos_token="[EOS]")


def beginning_tokenizer() -> PreTrainedTokenizerFast:
    """The same, putting a BOS token before every text, as Llama's and Gemma's do."""
    words = tokenizer().backend_tokenizer
    words.post_processor = TemplateProcessing(single="[EOS] $A", special_tokens=[("[EOS]", WORDS.index("[EOS]"))])
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", bos_token="[EOS]")


def text(num_words: int) -> str:
    """Words in no order that a model could guess."""
    numbers = torch.randint(61, (num_words,), generator=torch.Generator().manual_seed(1)).tolist()
    return " ".join(f"w{number}" for number in numbers)


def llama(*, tie_word_embeddings: bool = False) -> LlamaForCausalLM:
    """2 layers, width 32, 4 heads in 2 KV groups, 48 neurons, 64 tokens."""
    torch.manual_seed(0)
    config = LlamaConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        vocab_size=len(WORDS),
        max_position_embeddings=128,
        tie_word_embeddings=tie_word_embeddings,
        bos_token_id=2,
        eos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def llama_classifier(*, pad_token_id: int | None = 0) -> LlamaForSequenceClassification:
    """The same with two classes in place of the next token."""
    torch.manual_seed(0)
    config = llama().config
    config.num_labels, config.pad_token_id = 2, pad_token_id
    return LlamaForSequenceClassification(config).eval()


def sliding_window_mistral() -> MistralForCausalLM:
    """A cache that keeps 8 tokens and cannot be cropped."""
    torch.manual_seed(0)
    config = MistralConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        vocab_size=len(WORDS),
        sliding_window=8,
        bos_token_id=2,
        eos_token_id=2,
    )
    return MistralForCausalLM(config).eval()


def bert(*, num_labels: int = 2) -> BertForSequenceClassification:
    """2 layers, width 32, 4 heads, 48 neurons, 64 tokens."""
    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        vocab_size=len(WORDS),
        max_position_embeddings=64,
        num_labels=num_labels,
    )
    return BertForSequenceClassification(config).eval()
