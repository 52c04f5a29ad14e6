"""Wrong variants of functions: each is put into the place of the right one, and a check has to notice."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest


class Variant(NamedTuple):
    """What stands in the place of ``place.name``, and a check that passes without it and must fail with it."""

    place: Any
    name: str
    wrong: Any
    check: Callable[[], object]


def assert_noticed(variant: Variant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where the check does not pass on the right code, and where it passes on the wrong one, too."""
    variant.check()
    monkeypatch.setattr(variant.place, variant.name, variant.wrong)
    with pytest.raises(AssertionError):
        variant.check()
