"""``python -m genai_labs bench WHAT``: how fast training, evaluation and PPO are, and how that grows."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence

from genai_labs.inputs.helptext import plain

BENCHES = {  # each with options of its own
    "train": "benchmarks.training",
    "eval": "benchmarks.evaluation",
    "ppo": "benchmarks.ppo",
    "grow": "benchmarks.growth",
    "gpu": "benchmarks.gpu",
}
ALL = ("train", "eval", "ppo")


def main(argv: Sequence[str]) -> int:
    """Run one bench, or ``all`` that compare with the peers; 1 if a bar is not met."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs bench", description=plain(__doc__))
    parser.add_argument("what", choices=(*BENCHES, "all"), help="what to measure (each has its --help)")
    what = parser.parse_args(argv[:1]).what
    chosen = ALL if what == "all" else (what,)
    return max(int(importlib.import_module(BENCHES[each]).main([each, *argv[1:]])) for each in chosen)
