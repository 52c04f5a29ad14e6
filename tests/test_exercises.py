"""The exercises: each solution runs as a learner would run it, after the cells of its lab, and does what its text says.

Solutions are read out of the notebooks, so that what is tested is what is shown. Two sizes: as they stand (slow, as
long as the labs themselves take), with the numbers of the texts compared; and small, in seconds, where models learn
nothing and only "it runs, and shows something" can be asked.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import nbformat
import pytest

from genai_labs.course.runner import LAB_NOTEBOOKS
from genai_labs.finetuning import examples, training
from genai_labs.loading import profiles
from genai_labs.paths import NOTEBOOKS
from genai_labs.rlhf import reward_model
from genai_labs.scoring import toxicity
from genai_labs.show import lessons

SOLUTION = re.compile(r"<summary>Solution</summary>\n\n```python\n(.*?)```", re.DOTALL)
FINETUNE = training.finetune
NUMBERS = (1, 2, 3)  # each lab has three exercises

# Small enough for seconds: few dialogues, two updates of PPO. Of every fine-tuning one step is done (`one_step`).
SMALL: dict[str, Any] = {
    "test_dialogues": 4,
    "train_dialogues": 40,
    "validation_dialogues": 16,
    "scored_dialogues": 4,
    "other_examples": 2,
    "second_style_dialogues": 16,
    "detox_cases": (4, 2),
    "ppo_dialogues": 16,
    "ppo": {"updates": 2, "batch_size": 4, "minibatch": 2, "max_new_tokens": 10},
}
# The cells that solutions stand on, by what is written in them. The others, lessons above all, want more dialogues.
NEEDED: dict[int, tuple[str, ...]] = {
    1: (
        "profile = load_profile()",
        "models.load_model(profile)",
        "board = Scoreboard(",
        "def summarize(",
        'board.add("zero-shot", ',
        "exemplars = prompts.choose_exemplars(",
        'board.add("one-shot", ',
    ),
    2: (
        "profile = load_profile()",
        "models.load_model(profile)",
        'board.add("base, one shot", ',
        "train_examples = ",
        "full = finetune(",
        'board.add("full", ',
        "from dataclasses import replace",
        "references = [",
        "adapter = Plan(",
        "kinds = {",
        "low = finetune(",
        'board.add("LoRA", ',
        "gain = {",
        "other = forgetting.other_tasks(",
        "replayed = finetune(",
        "def report(",
        "product = lora.load_adapter(",
    ),
    3: (
        "profile = load_profile()",
        "models.load_model(profile)",
        "hate, judge = ",
        "pairs = reward_model.read_preferences()",
        "scorers = {",
        "most = len(to_learn)",
        "both = {",
        "before = measure.measure(",
        "settings = ppo.Settings(",
        "from dataclasses import replace",
        "run = ppo.train(",
        "after = measure.measure(",
        "voted = ppo.train(",
        "by_votes = measure.measure(",
    ),
}


def cells(lab: int, kind: str) -> list[str]:
    """The sources of a lab's cells of one kind, code or markdown."""
    notebook = nbformat.read(NOTEBOOKS / LAB_NOTEBOOKS[lab], as_version=4)
    return [cell.source for cell in notebook.cells if cell.cell_type == kind]


def exercises(lab: int) -> list[str]:
    """The text of each exercise of a lab, hint and solution included."""
    (text,) = [source for source in cells(lab, "markdown") if "**Exercise 1 " in source]
    return re.split(r"(?=\*\*Exercise \d )", text)[1:]


def solution(lab: int, number: int) -> str:
    """The code of a solution."""
    (code,) = SOLUTION.findall(exercises(lab)[number - 1])
    return code


def execute(code: str, namespace: dict[str, Any]) -> str:
    """Run a cell as a kernel does; what it prints, and what it shows as its last line's value."""
    lines = ast.parse(code).body
    last = lines.pop() if lines and isinstance(lines[-1], ast.Expr) and not code.rstrip().endswith(";") else None
    with redirect_stdout(StringIO()) as shown:
        exec(compile(ast.Module(lines, []), "<cell>", "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "<cell>", "eval"), namespace)
            print("" if value is None else value)
    return shown.getvalue()


def one_step(
    base: Any, tokenizer: Any, train: Any, validation: Any, plan: training.Plan, folder: Path
) -> training.FineTuning:
    """`finetune`, but as few rows as it takes are read once: what solutions train would take minutes."""
    few = max(plan.batch_size, examples.FEWEST)
    return FINETUNE(base, tokenizer, train[:few], validation[:4], replace(plan, epochs=1), folder)


@contextmanager
def after_cells(codes: Sequence[str], folder: Path) -> Iterator[dict[str, Any]]:
    """The names that these cells leave behind, run in order; what they write goes into ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENAI_LABS_OUT", str(folder))
        namespace: dict[str, Any] = {}
        for code in codes:
            execute(code, namespace)
        yield namespace


@pytest.fixture(scope="module", params=LAB_NOTEBOOKS)
def small_lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, dict[str, Any]]]:
    lab = request.param
    needed = [[code for code in cells(lab, "code") if words in code][:1] for words in NEEDED[lab]]
    assert all(needed), "a cell that solutions stand on is no longer there"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(profiles.PROFILES, "mini", replace(profiles.PROFILES["mini"], **SMALL))
        patch.setattr(reward_model, "train_reward_model", partial(reward_model.train_reward_model, steps=2))
        patch.setattr(training, "finetune", one_step)
        patch.setattr(toxicity, "check_reward", lambda *_, **__: None)  # two steps teach no reward model anything
        assert lessons.lesson.__kwdefaults__
        patch.setitem(lessons.lesson.__kwdefaults__, "fewest", 2)
        with after_cells([code for (code,) in needed], tmp_path_factory.mktemp("small")) as namespace:
            yield lab, namespace


@pytest.fixture(scope="module", params=LAB_NOTEBOOKS)
def whole_lab(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[int, dict[str, Any]]]:
    lab = request.param
    with after_cells(cells(lab, "code"), tmp_path_factory.mktemp("whole")) as namespace:
        yield lab, namespace


@pytest.mark.parametrize("lab", LAB_NOTEBOOKS)
def test_every_exercise_has_a_hint_and_one_solution(lab: int) -> None:
    assert len(exercises(lab)) == len(NUMBERS)
    for number, text in enumerate(exercises(lab), start=1):
        assert text.count("<summary>Hint</summary>") == 1
        assert ast.parse(solution(lab, number)).body


@pytest.mark.filterwarnings("ignore:.*encountered in scalar divide")  # of a gain of 0
@pytest.mark.parametrize("number", NUMBERS)
def test_a_small_solution_runs_and_shows_something(small_lab: tuple[int, dict[str, Any]], number: int) -> None:
    lab, namespace = small_lab
    assert execute(solution(lab, number), namespace).strip()


def numbers(pattern: str, text: str) -> list[float]:
    """The numbers that a pattern's group finds in a text."""
    return [float(number) for number in re.findall(pattern, text)]


def check_prompting_1(shown: str, lab: dict[str, Any]) -> None:
    assert re.fullmatch(r"-0\.457 \[.*\], n = 100", shown.strip()), "the text says that it loses 0.46"


def check_prompting_2(shown: str, lab: dict[str, Any]) -> None:
    assert len(re.findall(r"n = 100", shown)) == 5
    assert "range of the means: 0.749 to 0.766" in shown
    widths = [high - low for low, high in zip(numbers(r"\[(.*?),", shown), numbers(r", (.*?)\]", shown), strict=True)]
    assert min(widths) > 0.766 - 0.749, "the text says that each interval is wider than the range"


def check_prompting_3(shown: str, lab: dict[str, Any]) -> None:
    assert "a fact is missing: 8 of 149 outputs above 0.7" in shown
    assert "speakers exchanged: 8 of 149 outputs above 0.7" in shown
    scores = [lab["scores"][i] for i in lab["found"]["speakers exchanged"]]
    assert (round(min(scores), 2), round(max(scores), 2)) == (0.90, 1.00)
    assert all(words in shown for words in ("passport", "spark plug", "group of nine"))


def check_tuning_1(shown: str, lab: dict[str, Any]) -> None:
    assert len(re.findall(r"validation loss|ROUGE-1, fast minus full|lost on other tasks", shown)) == 3
    (lost,) = numbers(r"lost on other tasks: (\S+)", shown)
    full, fast = (min(epoch["validation_loss"] for epoch in lab[run].history) for run in ("full", "fast"))
    assert fast > full + 0.05, "the loss warns, too: 1.24 against 1.13 were measured"
    assert lab["fast_scores"].mean() < lab["board"]["full"].mean()
    assert lost > 0.05


def check_tuning_2(shown: str, lab: dict[str, Any]) -> None:
    many, half, quarter = numbers(r"rows: (\S+) are headlines", shown)
    assert min(many, half) > 0.8
    assert quarter < min(many, half) - 0.3, "25 rows are too few for it: 0.40 was measured, beside 0.98 and 1.00"
    assert {"summary", "report", "headline-100"} <= set(lab["product"].peft_config), "they are loaded side by side"


def check_tuning_3(shown: str, lab: dict[str, Any]) -> None:
    assert lab["shares"] == [0.0, 0.05, 0.2, 0.4]
    assert "ROUGE-1 of summaries, share replayed 0.4" in shown
    lost = [interval.effect for interval in lab["curves"]["lost on other tasks"]]
    assert lost[2] < lost[0]


def check_rewards_1(shown: str, lab: dict[str, Any]) -> None:
    assert len(lab["runs"]) == 3
    kl = numbers(r"KL ([\d.]+) \{", shown)  # from the highest price to the lowest
    assert kl == sorted(kl), "a lower price lets the policy go further"
    toxicity = numbers(r"'toxicity, judge': '(\S+)", shown)
    assert toxicity[0] > toxicity[1], "a high price holds it back"


def check_rewards_2(shown: str, lab: dict[str, Any]) -> None:
    assert lab["scorers"][25].rewards == lab["few_votes"]
    for kind in ("hostile", "polite"):  # the text promises no direction, only what is to be compared
        assert f"{kind}  " in shown
        assert len(getattr(lab["by_few"], kind)["facts right"]) == len(getattr(lab["by_votes"], kind)["facts right"])


def check_rewards_3(shown: str, lab: dict[str, Any]) -> None:
    assert shown.count("refused") == 2
    assert "The policy is in training mode" in shown
    assert "what stands behind the end is padding" in shown
    right, turned = numbers(r"KL (\S+) after 8 updates", shown)
    assert turned > 2 * right
    left = lab["ppo"].response_mask, lab["ppo"].token_rewards
    assert left == (lab["mask"], lab["rewards"]), "the package is left as it was"


PROMISES = {
    1: (check_prompting_1, check_prompting_2, check_prompting_3),
    2: (check_tuning_1, check_tuning_2, check_tuning_3),
    3: (check_rewards_1, check_rewards_2, check_rewards_3),
}


@pytest.mark.slow
@pytest.mark.parametrize("number", NUMBERS)
def test_a_solution_shows_what_its_text_says(whole_lab: tuple[int, dict[str, Any]], number: int) -> None:
    lab, namespace = whole_lab
    PROMISES[lab][number - 1](execute(solution(lab, number), namespace), namespace)
