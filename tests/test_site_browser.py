"""The tab in a real browser: the same tokens and texts as in Python, by keyboard, on a phone, in both themes, offline.

It is the site in build/site, as `make site` left it; screenshots go to build/screens. Without a browser, or without
such a site, the tests are skipped.
"""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from course_site import adapters, command, frame
from genai_labs.finetuning import lora
from genai_labs.loading import data, models
from genai_labs.loading.profiles import load_profile
from genai_labs.paths import BUILD, READING
from genai_labs.prompting import generation, prompts
from genai_labs.rlhf.dialogues import evaluation_cases
from genai_labs.rlhf.summarizer import SUMMARIZER
from genai_labs.scoring import toxicity
from tests.browsers import find_browser

SITE, ADAPTERS, SCREENS = BUILD / "site", BUILD / "site-adapters", BUILD / "screens"
BROWSER = find_browser()
if BROWSER is None:
    pytest.skip("there is no browser (Chromium or Chrome), or no playwright to drive it", allow_module_level=True)
if not (SITE / "model" / "plan.json").is_file():
    pytest.skip("the site is not built: `make site`, which needs Node.js, builds it", allow_module_level=True)
from playwright import sync_api  # noqa: E402

FLAGS = ("--disable-background-networking", "--disable-quic", "--no-first-run", "--disable-component-update")
SPLITS = ("test", "unseen", "handwritten_test")
PHONE: sync_api.ViewportSize = {"width": 360, "height": 740}
DESK: sync_api.ViewportSize = {"width": 1200, "height": 900}
MOST = 15_000_000  # bytes of a first visit, gzipped
SAME = 0.95  # of greedy texts
OPEN_LAB = """async () => {
    const { Lab } = await import(new URL("src/lab.js", location.href));
    window.lab = await Lab.load(new URL("./", location.href).href);
}"""
WRITE = """async ([dialogues, model, shots]) => {
    const made = [];
    for (const dialogue of dialogues) {
        const { text } = await lab.write(model, lab.prepare(dialogue, shots).ids);
        const [reward, judge] = [await lab.classify("reward", text), await lab.classify("judge", text)];
        made.push({ text, reward: reward.reward, hate: [reward.hate, judge.hate] });
    }
    return made;
}"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@dataclass
class Visit:
    """A page that shows the tab, and what went wrong on it."""

    page: Any
    address: str
    complaints: list[str] = field(default_factory=list)

    def open(self, name: str = "index.html") -> None:
        self.page.goto(self.address + name)

    def wait(self, asked: int) -> None:
        """Until all models have written, for the so-manieth time that they were asked."""
        self.page.locator(f'body[data-done="{asked}"]').wait_for(timeout=120_000)

    def texts(self) -> list[str]:
        """What the models have written, as the cards show it."""
        return self.page.locator(".card .summary").all_inner_texts()

    def ask(self, asked: int) -> None:
        self.page.get_by_role("button", name="Summarize").click()
        self.wait(asked)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the site is served, by a server that knows nothing but files."""
    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    flags = [*FLAGS, *(["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else [])]
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        yield launched
        launched.close()


def visit(browser: Any, address: str, **options: Any) -> Visit:
    """A first visit: nothing is kept yet."""
    page = browser.new_context(**{"viewport": DESK, **options}).new_page()
    made = Visit(page, address)
    page.on("console", lambda said: made.complaints.extend([said.text] if said.type == "error" else []))
    page.on("pageerror", lambda error: made.complaints.append(str(error)))
    page.on("request", lambda request: watch(made, request.url))
    return made


def watch(made: Visit, address: str) -> None:
    if address.startswith(("http", "ws")) and urlsplit(address).hostname != "127.0.0.1":
        made.complaints.append(f"the page asks the network for {address}")


@pytest.fixture(scope="module")
def tab(browser: Any, address: str) -> Iterator[Visit]:
    """A visit that has seen its first summaries."""
    made = visit(browser, address)
    made.open()
    made.wait(1)
    yield made
    assert made.complaints == []
    made.page.context.close()


@pytest.fixture(scope="module")
def engine(browser: Any, address: str) -> Iterator[Any]:
    """A page with the models in its hands, without the tab around them."""
    made = visit(browser, address)
    made.open("lessons.html")
    made.page.evaluate("document.head.querySelector('meta[http-equiv]')?.remove()")
    made.page.route("**/blank.html", lambda route: route.fulfill(body="<title>x</title>", content_type="text/html"))
    made.open("blank.html")
    made.page.evaluate(OPEN_LAB)
    yield made.page
    made.page.context.close()


def reference(shown: adapters.Shown) -> models.PreTrainedModel:
    """A model of the page as the labs have it, in fp32."""
    model, _ = models.load_model(load_profile("mini"))
    folders = {
        adapters.FINE_TUNED: ADAPTERS / "finetune" / "model",
        adapters.HARSH: SUMMARIZER,
        adapters.KIND: ADAPTERS / "detox" / "adapter",
    }
    for name in shown.adapters:
        if not folders[name].exists():
            pytest.skip("the adapters that the site was built with are gone: `make site` trains them again")
        model = lora.merged(lora.load_adapter(model, folders[name]))
    return model.eval()


def dialogues_of(split: str, count: int | None = None) -> list[str]:
    return [row.dialogue for row in data.load_split(READING, split)[:count]]


# ------------------------------------------------------------------------------------------------- as in Python


def test_the_site_was_built_of_the_present_scripts() -> None:
    built = {path.name: path.read_bytes() for path in (SITE / "src").glob("*.js")}
    now = {path.name: path.read_bytes() for path in (frame.SOURCE / "src").glob("*.js")}
    assert built == now, "scripts were changed since the site was built: run `make site` again"


def test_a_first_visit_loads_little() -> None:
    size = command.first_visit(SITE)
    assert len(size.of) > 20
    assert size.whole <= MOST, size.of


def test_all_test_dialogues_are_the_same_tokens_in_the_browser(engine: Any) -> None:
    tokenizer = models.load_tokenizer(load_profile("mini"))
    rows = [row for split in SPLITS for row in data.load_split(READING, split)]
    asked = [prompts.zero_shot(row.dialogue) for row in rows]
    asked += [prompts.zero_shot(case.dialogue) for case in evaluation_cases(200, 331)]
    summaries = [text for row in rows for text in row.references]
    profile = load_profile("mini")
    classifiers = {
        "reward": toxicity.load_classifier(profile.reward_model).tokenizer,
        "judge": toxicity.load_classifier(profile.judge).tokenizer,
    }
    assert len(asked) == 1531
    for name, tokenize, given in (
        ("t5", tokenizer, asked),
        *((name, each, summaries) for name, each in classifiers.items()),
    ):
        made = engine.evaluate("([name, texts]) => texts.map((text) => lab.idsOf(text, name))", [name, given])
        assert made == tokenize(given)["input_ids"], name


@pytest.mark.parametrize("place", range(len(adapters.MODELS)), ids=lambda place: adapters.MODELS[place].id)
def test_greedy_texts_and_their_toxicity_are_those_of_python(engine: Any, place: int) -> None:
    """On a few dialogues; that at least 95 % of all are the same is for the slow test, as few can differ by chance."""
    dialogues = [*dialogues_of("test", 3), *dialogues_of("unseen", 3)]
    dialogues += [case.dialogue for case in evaluation_cases(4, 0)]
    made = engine.evaluate(WRITE, [dialogues, place, 0])
    wanted = python_texts(reference(adapters.MODELS[place]), dialogues)
    same = sum(each["text"] == text for each, text in zip(made, wanted, strict=True))
    assert same >= 8
    profile = load_profile("mini")
    for which, part in enumerate((profile.reward_model, profile.judge)):
        classifier = toxicity.load_classifier(part)
        hate = classifier.probabilities([each["text"] for each in made])
        assert [each["hate"][which] for each in made] == pytest.approx(hate.tolist(), abs=0.03)


def python_texts(model: models.PreTrainedModel, dialogues: list[str], shots: int = 0) -> list[str]:
    """Greedy summaries by PyTorch."""
    profile = load_profile("mini")
    tokenizer = models.load_tokenizer(profile)
    exemplars = [command.tab.exemplar(profile)][:shots]
    asked = prompts.fit_all(lambda d: prompts.few_shot(d, exemplars), dialogues, tokenizer)
    config = generation.greedy(profile.max_new_tokens)
    return generation.generate(model, tokenizer, asked, config, batch_size=100, progress=False)


def version_of(folder: Path) -> str:
    """A hash of all that the page computes with: the plan and the weights, those of adapters, too."""
    whole = hashlib.sha256()
    for name in ("plan.json", "weights.bin.gz"):
        whole.update((folder / name).read_bytes())
    return whole.hexdigest()


def test_another_adapter_is_another_version(tmp_path: Path) -> None:
    for name in ("plan.json", "weights.bin.gz"):
        (tmp_path / name).write_bytes(name.encode())
    before = version_of(tmp_path)
    assert version_of(tmp_path) == before
    (tmp_path / "weights.bin.gz").write_bytes(b"other")
    assert version_of(tmp_path) != before


@pytest.mark.slow
def test_at_least_95_of_100_greedy_texts_are_the_same_on_all_test_dialogues(engine: Any) -> None:
    """Of each model; what was counted is kept in build/site_texts.json, and is not counted again where it is there."""
    path = BUILD / "site_texts.json"
    counted = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if counted.get("version") != version_of(SITE / "model"):
        counted = {"version": version_of(SITE / "model"), "same": {}}
    for place, shown in enumerate(adapters.MODELS):
        model = reference(shown)
        for split in SPLITS:
            name = f"{shown.id}, {split}"
            if name in counted["same"]:
                continue
            dialogues = dialogues_of(split)
            wanted = python_texts(model, dialogues)
            made: list[str] = []
            for start in range(0, len(dialogues), 20):  # a call of half an hour would look like one that hangs
                made += [each["text"] for each in engine.evaluate(WRITE, [dialogues[start : start + 20], place, 0])]
            same = [a == b for a, b in zip(made, wanted, strict=True)]
            counted["same"][name] = [sum(same), len(same)]
            path.write_text(json.dumps(counted), encoding="utf-8")
            print(name, counted["same"][name], flush=True)
    for shown in adapters.MODELS:
        pairs = [counted["same"][f"{shown.id}, {split}"] for split in SPLITS]
        share = sum(same for same, _ in pairs) / sum(of for _, of in pairs)
        assert share >= SAME, (shown.id, pairs)


# ---------------------------------------------------------------------------------------------------- as a person


def test_the_first_summaries_come_by_themselves_and_fill_every_card(tab: Visit) -> None:
    page = tab.page
    assert page.locator(".card").count() == len(adapters.MODELS)
    assert all(len(text) > 20 for text in tab.texts())
    assert page.locator(".card mark").count() > 0
    assert page.locator(".card .measure").count() == 3 * len(adapters.MODELS)
    assert not page.locator("#loading").is_visible()
    shown = page.locator("#told").inner_text()
    assert "of at most 1024 tokens" in shown


def test_an_exemplar_is_shown_and_changes_what_the_base_writes(tab: Visit) -> None:
    page = tab.page
    before, asked = tab.texts()[0], int(page.evaluate("document.body.dataset.done"))
    assert not page.locator("#exemplar").is_visible()
    page.get_by_label("one", exact=True).check()
    page.get_by_text("The solved example that stands in front").click()
    assert page.locator("#exemplar-dialogue").inner_text().startswith("#Person1#:")
    tab.ask(asked + 1)
    after = tab.texts()[0]
    assert after != before
    assert after.startswith("#Person")
    page.get_by_label("none", exact=True).check()
    tab.ask(asked + 2)
    assert tab.texts()[0] == before


def test_at_a_temperature_a_seed_decides_and_at_0_it_does_not(tab: Visit) -> None:
    page = tab.page
    asked = int(page.evaluate("document.body.dataset.done"))
    assert page.get_by_label("Seed").is_disabled()
    page.get_by_label("Temperature").fill("1.2")
    made = []
    for place, seed in enumerate(("1", "1", "2"), start=1):
        page.get_by_label("Seed").fill(seed)
        tab.ask(asked + place)
        made.append(tab.texts())
    assert made[0] == made[1] != made[2]
    page.get_by_label("Temperature").fill("0")


def test_the_tab_can_be_used_by_keyboard_alone(tab: Visit) -> None:
    page = tab.page
    asked = int(page.evaluate("document.body.dataset.done"))
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    page.get_by_label("A dialogue", exact=True).focus()
    before = page.locator("#dialogue").input_value()
    page.keyboard.press("End")  # "Your own"
    page.keyboard.press("ArrowUp")  # the last one written by hand
    assert page.locator("#dialogue").input_value() not in ("", before)
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.name"))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
        if reached[-1] == "temperature":
            page.keyboard.press("ArrowRight")
            assert page.locator("#temperature-shown").inner_text() == "0.1"
            page.keyboard.press("ArrowLeft")
        if reached[-1] == "go":
            break
    assert reached == ["dialogue", "shots", "temperature", "go"]
    page.keyboard.press("Enter")
    tab.wait(asked + 1)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "whose"
    page.keyboard.press("Tab")
    first = page.locator("#bars").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    assert page.locator("#bars").inner_text() != first
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.textContent") == "</s>"
    shares = [float(text.split(",")[0]) for text in page.locator("#bars li > span:last-child").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert 0.5 < sum(shares) <= 1.002


def test_after_ppo_the_page_shows_less_hate_on_the_quarrels_it_brings(tab: Visit) -> None:
    page = tab.page
    asked = int(page.evaluate("document.body.dataset.done"))
    hate = {"harsh": 0.0, "detoxified": 0.0}
    for place in (1, 2, 3):
        page.get_by_label("A dialogue", exact=True).select_option(f"A quarrel {place}")
        tab.ask(asked + place)
        for name in hate:
            judged = page.locator(f'.card[data-model="{name}"] dd').nth(1).inner_text()
            hate[name] += float(judged)
    assert hate["harsh"] > hate["detoxified"]


def test_text_of_ones_own_stays_text_and_odd_letters_are_named(tab: Visit) -> None:
    page = tab.page
    asked = int(page.evaluate("document.body.dataset.done"))
    own = "Zoë: Is the <img src=x onerror=alert(1)> ready? 日本\nBob: “Yes” – it’s €50.\nZoë: I'll take it on Friday."
    page.locator("#dialogue").fill(own)
    assert page.get_by_label("A dialogue", exact=True).input_value() == ""
    tab.ask(asked + 1)
    assert page.locator("main img").count() == 0
    assert "left out: 日 本" in page.locator("#told").inner_text()
    assert "#Person1#" not in "".join(tab.texts())
    assert "Zoë" in "".join(tab.texts())
    page.locator("#dialogue").fill("  \n ")
    page.get_by_role("button", name="Summarize").click()
    page.locator("#told").get_by_text("There is no dialogue to summarize.").wait_for()
    assert page.locator("#dialogue").input_value() == "  \n "
    page.get_by_label("A dialogue", exact=True).select_option("Composed 1")
    tab.ask(asked + 3)


def test_it_works_without_a_network_once_it_was_loaded(browser: Any, address: str) -> None:
    made = visit(browser, address)
    made.open()
    made.wait(1)
    before = made.texts()
    kept = "caches.keys().then(async (n) => (await (await caches.open(n[0])).keys()).length)"
    files = sum(path.is_file() for path in SITE.rglob("*")) - 1  # the worker itself is kept by the browser
    for _ in range(120):
        if made.page.evaluate(kept) >= files:
            break
        made.page.wait_for_timeout(500)
    made.page.context.set_offline(True)
    made.page.reload()
    made.wait(1)
    assert made.texts() == before
    for name in ("lessons.html", "docs/architecture.html", "notebooks/lab1_prompting.html"):
        made.open(name)
        assert made.page.locator("h1").count() == 1
    assert made.complaints == []
    made.page.context.close()


def test_where_the_models_cannot_be_loaded_the_page_says_so(browser: Any, address: str) -> None:
    made = visit(browser, address, service_workers="block")
    made.page.route("**/weights.bin.gz", lambda route: route.fulfill(status=404))
    made.open()
    made.page.locator("#status").get_by_text("could not be loaded (404). Reload the page.").wait_for()
    assert made.page.get_by_role("button", name="Summarize").is_disabled()
    made.page.context.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_pages_fit_a_phone_and_a_desk_in_both_themes(
    browser: Any, address: str, theme: str, size: sync_api.ViewportSize
) -> None:
    made = visit(browser, address, viewport=size, color_scheme=theme)
    SCREENS.mkdir(parents=True, exist_ok=True)
    width = size["width"]
    for name in sorted(path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html")):
        made.open(name)
        if name == "index.html":
            made.wait(1)
        assert made.page.evaluate("document.documentElement.scrollWidth") <= width, name
        if name.split("/")[-1] in ("index.html", "lessons.html", "architecture.html", "lab1_prompting.html"):
            whole = name == "index.html"
            shot = SCREENS / f"site-{Path(name).stem}-{theme}-{width}.png"
            made.page.screenshot(path=shot, full_page=whole)
    assert made.complaints == []
    made.page.context.close()
