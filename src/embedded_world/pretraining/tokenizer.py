"""A small BPE tokenizer with T5's conventions: pad 0, end 1, unknown 2, sentinels at the end of the vocabulary."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 4096
SENTINELS = 100
WINDOW = 1024

# Words keep the space in front of them, as in SentencePiece. Digits and punctuation stand alone, so that "Friday" is
# the same token in "Friday." and "Friday, please" and a number is spelled digit by digit: both make copying easy.
# A speaker's tag with its colon is one token.
PIECES = Regex(r"▁?#Person\d#:?|▁?\d|▁?[A-Za-z']+|▁?[^\s▁A-Za-z\d']|▁")

# The same, with what stands behind an apostrophe ("'s", "'t", "'ve") as a piece of its own.
SPOKEN_PIECES = Regex(r"▁?#Person\d#:?|▁?\d|▁?[A-Za-z]+|'[A-Za-z]+|▁?[^\s▁A-Za-z\d]|▁")


def byte_pairs(
    texts: Iterable[str], vocabulary: int, special: list[str], pieces: Regex = PIECES, **options: Any
) -> Tokenizer:
    """Byte-pair pieces learned from ``texts``, special tokens first; words keep the space in front of them.

    options: of the trainer. The same texts give the same tokenizer.
    """
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False),
            pre_tokenizers.Split(pieces, "isolated"),
        ]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="first")
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False, **options)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def train_tokenizer(
    texts: Iterable[str], vocabulary: int = VOCABULARY, pieces: Regex = PIECES
) -> PreTrainedTokenizerFast:
    """The tokenizer of the embedded T5, learned from ``texts``, cut into ``pieces`` first."""
    tokenizer = byte_pairs(texts, vocabulary - SENTINELS, ["<pad>", "</s>", "<unk>"], min_frequency=2, pieces=pieces)
    tokenizer.add_special_tokens([f"<extra_id_{i}>" for i in reversed(range(SENTINELS))])
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens=[f"<extra_id_{i}>" for i in range(SENTINELS)],
        model_max_length=WINDOW,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def saved_tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in ``folder``."""
    return PreTrainedTokenizerFast.from_pretrained(folder)
