"""What holds for every test and every cell of a notebook: no network, no screen, build/ is left alone.

It stands at the top because pytest reads it for tests/ and for notebooks/, whichever is asked for. Sockets
are blocked by pytest-socket, whose options are in pyproject.toml.
"""

import gc
import os
from tempfile import TemporaryDirectory

import matplotlib
import pytest

from genai_labs.course.execution import HEADLESS

_OUT = TemporaryDirectory(prefix="genai_labs_tests_")

# Kernels that nbval starts inherit these.
os.environ.update(HEADLESS, HF_HUB_OFFLINE="1", GENAI_LABS_PROFILE="mini", GENAI_LABS_OUT=_OUT.name)
# Not by MPLBACKEND, which those kernels would inherit and then draw nothing into the notebook.
os.environ.pop("MPLBACKEND", None)
matplotlib.use("Agg")


def pytest_collection_finish() -> None:
    """What is imported by now stays: the garbage collector, which each training calls, need not look at it again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove what the tests wrote."""
    _OUT.cleanup()
