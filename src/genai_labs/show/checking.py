"""How an exercise is checked: the learner's function is called, and one line says "Right" or "Not yet" and why.

A check is a function that returns the sentence of a right answer and calls :func:`wrong` with that of a wrong one:
one mistake, by name, with numbers of the learner's own output, and where to look, without the solution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

LONGEST = 200  # characters of somebody else's error text in a sentence
_START = "Replace the ... by a first line, run the cell, and read what this line says then."


class Unanswered(Exception):
    """Carries the sentence that says what is not right yet."""


class Empty(Unanswered):
    """There is no answer so far: the stub is as it was."""


def wrong(sentence: str) -> NoReturn:
    """Raises Unanswered with the sentence: one mistake, by name, and where to look."""
    raise Unanswered(sentence)


def tell(name: str, start: str = _START) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Makes of a function that returns a sentence, or raises Unanswered with one, a check that prints one line.

    name: what is asked for, such as "labels"; start: a first step for whoever has written nothing yet. The check gives
    back nothing, and raises nothing but an interruption, whatever the answer is.
    """

    def decorated(check: Callable[..., str]) -> Callable[..., None]:
        @functools.wraps(check)
        def told(*answer: Any, **named: Any) -> None:
            print(_verdict(check, answer, named, name, start))

        told.__annotations__ = {**told.__annotations__, "return": None}
        return told

    return decorated


def answered(function: Any, *arguments: Any, **named: Any) -> Any:
    """What the learner's function gives for copies of the arguments, which it may change in place.

    Raises Unanswered where it is no function or fails, and Empty where it is a stub: it gives None or an Ellipsis.
    Lists, dictionaries, arrays and tensors are copied, and gradients flow through the copies; models are not copied.
    """
    if not callable(function):
        _not_empty(function)
        wrong(f"a function is needed, and a {type(function).__name__} was given. Pass its name, without brackets.")
    try:
        result = function(*map(_fresh, arguments), **{key: _fresh(value) for key, value in named.items()})
        result = list(result) if isinstance(result, Iterator) else result  # a generator fails only when it is read
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # exit() in a function, too, is to be told and not to end the kernel
        wrong(
            f"your function stopped{_line_of(function, error)} with {_said(error)}. Call it by hand on a small input: "
            "the traceback says more."
        )
    return _not_empty(result)


def what_it_changes(function: Any, names: str, *arguments: Any) -> str:
    """The end of a sentence, if the learner's function changes what it is given: ``names``, of the first arguments."""
    given = _fresh(arguments)
    function(*given)
    spoiled = [name for name, *pair in zip(names.split(), given, arguments, strict=False) if not _unchanged(*pair)]
    said = f"; but your function changes {' and '.join(spoiled)} in place, and who calls it may need that as it was"
    return said if spoiled else ""


def numbers(value: Any, shape: tuple[int, ...] | None = None, what: str = "the result") -> NDArray[np.float64]:
    """A tensor, array, list or number as an array of floats, of any shape or of the one that is needed.

    what: its name in a sentence, such as "the labels". Infinity is a number here.
    Raises Unanswered where it holds something else, has another shape, or holds NaN, and Empty for None and Ellipsis.
    """
    _not_empty(value)
    try:
        array = np.asarray(_as_arrays(float(value) if isinstance(value, (Fraction, Decimal)) else value))
    except Exception as error:
        wrong(f"{what} cannot be read as numbers ({_said(error)}). Look at what your function returns.")
    if array.dtype.kind not in "biuf":
        found = f"a {type(value).__name__}" + (" that holds other things" if array.ndim else "")
        wrong(f"numbers are needed, and {what} came as {found}. Look at what your function returns.")
    if shape is not None and array.shape != shape:
        wrong(f"the shape of {what} is {array.shape}, and {shape} is needed. Which dimension is off?")
    array = array.astype(np.float64)
    if missing := int(np.isnan(array).sum()):
        wrong(f"in {missing} of {array.size} places of {what} stands NaN. Is something divided by 0?")
    return array


def _verdict(check: Callable[..., str], answer: Any, named: Any, name: str, start: str) -> str:
    try:
        return f"Right: {_one_line(check(*answer, **named)).rstrip('.')}."
    except Empty as nothing:
        return f"Not yet: {nothing} {start}"
    except Unanswered as why:
        return f"Not yet: {_one_line(str(why))}"
    except Exception as error:  # an answer so odd that the check itself stumbles over it
        return f"Not yet: this answer ({name}) cannot be read ({_said(error)}). Look at what your function returns."


def _not_empty(value: Any) -> Any:
    if value is None or value is Ellipsis:
        raise Empty("the function gives back nothing so far.")
    return value


def _fresh(value: Any) -> Any:
    """A copy of what can be changed in place."""
    if type(value) in (list, tuple, set):
        return type(value)(map(_fresh, value))
    if type(value) is dict:
        return {key: _fresh(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.copy()
    return value.clone() if _is_tensor(value) else value


def _unchanged(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_unchanged(one[key], other[key]) for key in one)
    return np.array_equal(one, other)


def _as_arrays(value: Any) -> Any:
    """Tensors, in lists too, as arrays."""
    if _is_tensor(value):
        return value.detach().cpu().double().numpy() if not value.is_complex() else str(value)
    return [_as_arrays(each) for each in value] if isinstance(value, (list, tuple)) else value


def _is_tensor(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("detach", "clone", "is_complex"))  # without loading PyTorch


def _said(error: BaseException) -> str:
    text = _one_line(str(error)).rstrip(".")
    return f"{type(error).__name__}: {text[:LONGEST]}{'...' if len(text) > LONGEST else ''}".removesuffix(": ")


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _line_of(function: Any, error: BaseException) -> str:
    """The last line of the learner's own cell that the error came through."""
    file, found, trace = getattr(getattr(function, "__code__", None), "co_filename", None), "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            found = f" in line {trace.tb_lineno}"
        trace = trace.tb_next
    return found
