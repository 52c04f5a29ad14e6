"""A calculator that reads an expression and runs nothing, and a model that is interrupted where it needs one.

The model writes "51 + 78 =", the calculator writes what that is, and the model reads that number and goes on; whether
its answer is the same number is another question, and on sums above 100 it is not. Cobbe et al. 2021,
https://arxiv.org/abs/2110.14168, gave their models this calculator; Gao et al. 2022, https://arxiv.org/abs/2211.10435
(PAL), let the model write a whole program.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Sequence

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from genai_labs.errors import LabError
from genai_labs.inputs.text import readable
from genai_labs.prompting.decoding import Decoder
from genai_labs.prompting.generation import evaluating

SIGNS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}
LONGEST = 200  # characters of an expression
MOST = 10**15  # larger numbers are not reckoned with
ANSWER = "The answer is"
ASKED = re.compile(r"(\d[\d\s+*-]*)=$")  # at the end of what is written so far


def calculate(expression: str) -> int:
    """The value of whole numbers joined by +, - and *, with brackets.

    The expression is parsed and walked through; nothing in it is run. Raises LabError for anything else.
    """
    said = f"The calculator cannot work out {str(expression)[:60]!r}"
    if not isinstance(expression, str) or len(expression) > LONGEST:
        raise LabError(f"{said}: it takes a text of at most {LONGEST} characters. Give it one such as '51 + 78'.")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        raise LabError(f"{said}: that is no expression. Write numbers with +, - or * between them.") from None
    return _value(tree.body, said)


def _value(node: ast.expr, said: str) -> int:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            result = number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            result = -_value(operand, said)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in SIGNS:
            result = SIGNS[type(op)](_value(left, said), _value(right, said))
        case _:
            raise LabError(f"{said}: it knows whole numbers, +, - and *, and nothing else. Leave the rest out.")
    if abs(result) >= MOST:
        raise LabError(f"{said}: the numbers get too large. Take numbers below {MOST:,}.")
    return result


def asked_for(text: str) -> int | None:
    """What stands between the last words of a text and the "=" that ends it, worked out; None where nothing does."""
    found = ASKED.search(text.rstrip())
    try:
        return calculate(found[1]) if found else None
    except LabError:
        return None


def write_with_calculator(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    finish: bool = True,
    most: int = 48,
) -> list[str]:
    """One greedy text for each prompt; behind each "a + b =" the calculator writes, and the model goes on.

    finish: behind "The answer is" the calculator writes, too, namely its last result, and the text ends, as in PAL.
    Where the calculator has no result (:func:`asked_for` is None), the model writes on by itself.
    """
    read = tokenizer([readable(each, tokenizer).text for each in prompts], padding=True, return_tensors="pt").to(
        model.device
    )
    start, end, pad = (getattr(model.config, f"{name}_token_id") for name in ("decoder_start", "eos", "pad"))
    results: list[int | None] = [None for _ in prompts]
    written: list[list[int]] = [[] for _ in prompts]
    waiting: list[list[int]] = [[] for _ in prompts]  # what the calculator has said and is not written yet

    def interrupt(row: int) -> list[int]:
        text = tokenizer.decode(written[row], skip_special_tokens=True).rstrip()
        if text.endswith("="):
            results[row] = result = asked_for(text)
            return [] if result is None else _tokens_of(tokenizer, str(result))
        if finish and text.endswith(ANSWER) and results[row] is not None:
            return [*_tokens_of(tokenizer, f"{results[row]}."), end]
        return []

    with evaluating(model):
        states = model.get_encoder()(input_ids=read.input_ids, attention_mask=read.attention_mask).last_hidden_state
        decoder = Decoder(model, states, read.attention_mask, most)
        last = torch.full((len(written),), start, device=model.device)
        for _ in range(most):
            chosen = decoder.read(last).argmax(-1).tolist()  # [prompts]
            for row, (text, said) in enumerate(zip(written, waiting, strict=True)):
                over = text[-1:] in ([end], [pad])
                chosen[row] = pad if over else said.pop(0) if said else chosen[row]
                text.append(chosen[row])
                if not said and not over:
                    said += interrupt(row)
            if all(text[-1] in (end, pad) for text in written):
                break
            last = torch.tensor(chosen, device=model.device)
    return [text.strip() for text in tokenizer.batch_decode(written, skip_special_tokens=True)]


def _tokens_of(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False).input_ids)
