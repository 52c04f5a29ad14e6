"""The page on larger models agrees with the published sizes, with Lab 2's formula, and with its own file."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from benchmarks import on_paper
from genai_labs.errors import LabError
from genai_labs.paths import RESULTS, ROOT

# Parameters of the published checkpoints in millions, from their model cards.
PUBLISHED = {"flan-t5-small": 77, "flan-t5-base": 248, "flan-t5-large": 783, "flan-t5-xl": 2850, "flan-t5-xxl": 11_135}


@pytest.mark.parametrize("shape", on_paper.SHAPES, ids=lambda shape: shape.name)
def test_shapes_have_as_many_parameters_as_the_checkpoints(shape: on_paper.Shape) -> None:
    assert shape.parameters / 1e6 == pytest.approx(PUBLISHED[shape.name], rel=0.005)


def test_the_committed_page_is_what_the_command_writes() -> None:
    assert (RESULTS / "scale.md").read_text(encoding="utf-8") == on_paper.page()


def test_a_page_that_cannot_be_written_is_answered_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", closed)
        with pytest.raises(LabError, match="may only read there"):
            on_paper.main(["--out", str(tmp_path / "small")])
    assert on_paper.main(["--out", str(tmp_path / "small")]) == 0
    assert (tmp_path / "small" / "scale.md").read_text(encoding="utf-8") == on_paper.page()


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_the_configurations(path: object) -> None:
    config = load_config_from_file(str(path))
    assert config.mixed_precision == "no"
    assert config.num_processes == (1 if "one_gpu" in str(path) else 2)
