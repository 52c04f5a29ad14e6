"""``python -m genai_labs sweep``: LoRA over rank and place, soft prompts, full training over rates and with remedies.

Everything is scored on validation dialogues, because whoever reads a sweep will choose by it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from genai_labs.finetuning import sweep
from genai_labs.inputs.helptext import plain
from genai_labs.inputs.options import whole_number, writable_folder
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import RESULTS


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep and write ``results/lab2_sweep.json`` and ``.md``."""
    parser = argparse.ArgumentParser(prog="python -m genai_labs sweep", description=plain(__doc__))
    parser.add_argument("--profile")
    parser.add_argument("--out", type=writable_folder, default=RESULTS)
    parser.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=0)
    parser.add_argument(
        "--dialogues",
        type=whole_number(2),
        default=sweep.DIALOGUES,
        help="validation dialogues (default: %(default)s)",
    )
    args = parser.parse_args(argv)
    sweep.write_sweep(load_profile(args.profile), args.out, args.dialogues, args.seed)
    return 0
