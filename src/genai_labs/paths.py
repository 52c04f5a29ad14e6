"""Where things are in the repository."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parents[1]
DATA = ROOT / "data"
CONTENT = DATA / "content"
DIALOGUES = DATA / "dialogues"
READING = DATA / "reading"
MODELS = DATA / "models"
NOTEBOOKS = ROOT / "notebooks"
RESULTS = ROOT / "results"
BUILD = ROOT / "build"
JUPYTER_CONFIG = ROOT / "configs" / "jupyter"


def output_folder() -> Path:
    """Where a lab writes: the folder that the environment variable GENAI_LABS_OUT names, by default build/."""
    return Path(os.environ.get("GENAI_LABS_OUT") or BUILD)
