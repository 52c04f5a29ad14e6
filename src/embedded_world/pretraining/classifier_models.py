"""The two classifiers before training: a small RoBERTa and a small ELECTRA, each with a tokenizer of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    ElectraConfig,
    ElectraForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from embedded_world.pretraining.tokenizer import byte_pairs
from genai_labs.scoring.labelled_texts import LABELS

SEED = 0
WINDOW = 384
ID2LABEL = dict(enumerate(LABELS))


def roberta_tokenizer(corpus: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-pair pieces with the special tokens of RoBERTa."""
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    return wrapped(byte_pairs(corpus, vocabulary, special), special)


def electra_tokenizer(corpus: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Word pieces in lower case with the special tokens of BERT and ELECTRA; a speaker's tag is one piece."""
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    words.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(r"#person\d#:?|[a-z']+|\d|[^\sa-z\d']"), "isolated"),
        ]
    )
    words.decoder = decoders.WordPiece()
    special = ["[CLS]", "[PAD]", "[SEP]", "[UNK]", "[MASK]"]
    words.train_from_iterator(
        corpus, trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    )
    return wrapped(words, special)


def wrapped(words: Tokenizer, special: Sequence[str]) -> PreTrainedTokenizerFast:
    """The tokenizer for transformers: begin and end tokens around a text (``special``: cls, pad, sep, unk, mask)."""
    cls, pad, sep, unk, mask = special
    words.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        special_tokens=[(cls, words.token_to_id(cls)), (sep, words.token_to_id(sep))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        cls_token=cls,
        bos_token=cls,
        pad_token=pad,
        sep_token=sep,
        eos_token=sep,
        unk_token=unk,
        mask_token=mask,
        model_max_length=WINDOW,
        padding_side="right",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def small_roberta(words: PreTrainedTokenizerFast, seed: int = SEED) -> RobertaForSequenceClassification:
    """A small RoBERTa with fresh weights: 2 layers of 128."""
    torch.manual_seed(seed)
    return RobertaForSequenceClassification(
        RobertaConfig(
            vocab_size=len(words),
            hidden_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=256,
            max_position_embeddings=WINDOW + 2,  # RoBERTa counts positions from the padding token's number on
            type_vocab_size=1,
            initializer_range=0.05,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **tokens_and_labels(words),
        )
    )


def small_electra(words: PreTrainedTokenizerFast, seed: int = SEED) -> ElectraForSequenceClassification:
    """A small ELECTRA with fresh weights: 2 layers of 160 over embeddings of 96."""
    torch.manual_seed(seed + 1)
    return ElectraForSequenceClassification(
        ElectraConfig(
            vocab_size=len(words),
            embedding_size=96,
            hidden_size=160,
            num_hidden_layers=2,
            num_attention_heads=5,
            intermediate_size=320,
            max_position_embeddings=WINDOW,
            type_vocab_size=1,
            initializer_range=0.05,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            **tokens_and_labels(words),
        )
    )


def tokens_and_labels(words: PreTrainedTokenizerFast) -> dict[str, Any]:
    """What a configuration takes from the tokenizer, and the labels by name."""
    return {
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.bos_token_id,
        "eos_token_id": words.eos_token_id,
        "id2label": ID2LABEL,
        "label2id": {name: i for i, name in ID2LABEL.items()},
    }


MAKERS: dict[str, tuple[Callable[..., PreTrainedTokenizerFast], Callable[..., PreTrainedModel]]] = {
    "hate-mini": (roberta_tokenizer, small_roberta),
    "judge-mini": (electra_tokenizer, small_electra),
}
