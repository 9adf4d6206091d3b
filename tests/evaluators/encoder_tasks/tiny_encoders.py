"""Tiny random encoders with each kind of head, their tokenizer, and a few examples of each task."""

import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from evaluators.encoder_tasks.base import Kind

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(60)))
TAGS = ("O", "B-city", "I-city", "B-person", "I-person")
HEADS: dict[Kind, type[PreTrainedModel]] = {
    "classification": BertForSequenceClassification,
    "question_answering": BertForQuestionAnswering,
    "token_classification": BertForTokenClassification,
}


def tokenizer() -> PreTrainedTokenizerFast:
    """``[CLS] a [SEP]`` and ``[CLS] a [SEP] b [SEP]``, a token a word."""
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def config(num_labels: int = 2) -> BertConfig:
    """2 layers, width 32, 4 heads, 48 neurons, 64 tokens."""
    return BertConfig(
        num_hidden_layers=2,
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        vocab_size=len(WORDS),
        max_position_embeddings=64,
        num_labels=num_labels,
    )


def bert(kind: Kind) -> PreTrainedModel:
    """Random weights, large enough for its predictions to differ; tags are ``TAGS``."""
    torch.manual_seed(0)
    options = config()
    if kind == "token_classification":
        options.id2label = dict(enumerate(TAGS))
        options.label2id = {tag: number for number, tag in enumerate(TAGS)}
    model = HEADS[kind](options).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def write_examples(name: str, folder: Path) -> Path:
    """Four questions, one of them unanswerable, or six tagged sentences."""
    if name == "question_answering":
        path = folder / "questions.jsonl"
        rows = []
        for number in range(4):
            context = " ".join(f"w{word}" for word in range(number, number + 40))
            answer = f"w{number + 3} w{number + 4}"
            answers = {"text": [answer], "answer_start": [context.index(answer)]}
            rows.append(
                {
                    "question": f"w{number} w50",
                    "context": context,
                    "answers": answers if number else {"text": [], "answer_start": []},
                }
            )
        path.write_text("\n".join(map(json.dumps, rows)))
        return path
    path = folder / "words.conll"
    sentences = [
        "\n".join(f"w{(number * 7 + word * 3) % 60}\t{TAGS[(number + word * word) % 5]}" for word in range(3 + number))
        for number in range(6)
    ]
    path.write_text("\n\n".join(sentences) + "\n")
    return path
