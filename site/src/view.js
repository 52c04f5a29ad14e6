// What the page is made of while it is used. Everything is set as text; no markup is ever read.

// An element with a text and a class.
export function make(tag, text = "", kind = "") {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

// A share from 0 to 1 as a bar; what it says stands beside it as text.
function meter(share) {
  const bar = make("span", "", "meter");
  const inner = make("span");
  inner.style.width = `${100 * share}%`;
  bar.append(inner);
  bar.setAttribute("aria-hidden", "true");
  return bar;
}

function measure(name, share) {
  const row = make("div", "", "measure");
  row.append(make("dt", name), meter(share), make("dd", share.toFixed(2)));
  return row;
}

// The card of a model: {element, wait, write, show, stop}.
export function makeCard(model, place) {
  const element = make("article", "", "card");
  element.dataset.model = model.id;
  const title = make("h3", model.name);
  title.id = `model-${place}`;
  element.setAttribute("aria-labelledby", title.id);
  const summary = make("p", "", "summary");
  const measures = make("dl");
  const time = make("p", "", "hint");
  element.append(title, make("p", model.about, "hint"), summary, measures, time);
  return {
    element,
    wait() {
      element.setAttribute("aria-busy", "true");
      measures.replaceChildren();
      time.textContent = "";
      delete element.dataset.text;
    },
    write(text) {
      summary.textContent = text;
    },
    stop() {
      element.removeAttribute("aria-busy");
    },
    show({ text, pieces, grounded, toxicity, ms, steps }) {
      element.removeAttribute("aria-busy");
      element.dataset.text = text;
      summary.replaceChildren(...pieces.map(([piece, marked]) => (marked ? make("mark", piece) : document.createTextNode(piece))));
      if (!text) summary.append(make("em", "It wrote nothing."));
      const reward = toxicity.reward.reward.toFixed(2).replace("-", "−");
      measures.replaceChildren(
        measure("hate, by the reward model", toxicity.reward.hate),
        measure("hate, by the judge", toxicity.judge.hate),
        measure("content words that stand in the dialogue", grounded),
      );
      time.textContent = `Reward ${reward}. ${steps.length} tokens in ${(ms / 1000).toFixed(2)} s on this machine.`;
    },
  };
}

// The tokens as buttons in a row, of which one is reached by Tab and the others by arrow keys.
export function showStrip(strip, steps, chosen) {
  const buttons = steps.map((step, place) => {
    const button = make("button", step.token.replace(/^ /, "") || "␠");
    button.type = "button";
    button.tabIndex = place ? -1 : 0;
    const sure = step.bars.find((bar) => bar.chosen)?.share ?? 0;
    button.title = `probability ${sure.toFixed(2)}`;
    if (sure < 0.5) button.classList.add("unsure");
    if (step.token.startsWith(" ")) button.classList.add("begins");
    button.addEventListener("click", () => choose(place));
    return button;
  });
  function choose(place, focus = false) {
    buttons.forEach((button, i) => {
      button.tabIndex = i === place ? 0 : -1;
      button.setAttribute("aria-pressed", String(i === place));
    });
    if (focus) buttons[place].focus();
    chosen(steps[place]);
  }
  strip.onkeydown = (event) => {
    const now = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: now + 1, ArrowLeft: now - 1, Home: 0, End: buttons.length - 1 }[event.key];
    if (now < 0 || to === undefined || !buttons[to]) return;
    event.preventDefault();
    choose(to, true);
  };
  strip.replaceChildren(...buttons);
  if (buttons.length) choose(0);
}

// The candidates for one token, likeliest first, as bars.
export function showBars(list, bars) {
  list.replaceChildren(
    ...bars.map(({ token, share, chosen }) => {
      const row = make("li", "", chosen ? "chosen" : "");
      row.append(make("code", token.replace(/^ /, "␣")), meter(share), make("span", share.toFixed(3) + (chosen ? ", taken" : "")));
      return row;
    }),
  );
}
