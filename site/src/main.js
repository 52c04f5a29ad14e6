// The page: what is asked for goes to the worker, and what comes back is shown. Text is only ever set as text.

import { makeCard, make, showBars, showStrip } from "./view.js";

const find = (id) => document.getElementById(id);
const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
const plan = await (await fetch(new URL("../model/page.json", import.meta.url))).json();

let asked = 0;
let begun = 0;
const summaries = new Map(); // by model, the newest

const cards = plan.models.map((model, place) => makeCard(model, place));
find("answers").append(...cards.map((card) => card.element));

function fillPick() {
  for (const { name, dialogues } of plan.shelves) {
    const group = make("optgroup");
    group.label = name;
    group.append(...dialogues.map((each) => Object.assign(make("option", each.title), { value: each.id })));
    find("pick").append(group);
  }
  find("pick").append(Object.assign(make("option", "Your own"), { value: "" }));
}

const shipped = () => plan.shelves.flatMap((shelf) => shelf.dialogues).find((each) => each.id === find("pick").value);

function showPicked() {
  const dialogue = shipped();
  find("origin").textContent = dialogue
    ? plan.shelves.find((shelf) => shelf.dialogues.includes(dialogue)).about
    : "Nobody has read it before: look closely at what the models make of it.";
  if (dialogue) find("dialogue").value = dialogue.text;
  else if (document.activeElement === find("pick")) find("dialogue").value = "";
}

function showKnobs() {
  const temperature = Number(find("temperature").value);
  find("temperature-shown").textContent = temperature ? temperature.toFixed(1) : "0, the likeliest token";
  find("seed").disabled = !temperature;
  find("exemplar").hidden = chosenShots() === 0;
}

const chosenShots = () => Number(new FormData(find("ask")).get("shots"));

function ask() {
  const dialogue = find("dialogue").value;
  asked += 1;
  begun = performance.now();
  cards.forEach((card) => card.wait());
  summaries.clear();
  find("tokens").hidden = true;
  find("told").textContent = "Reading the dialogue";
  const order = plan.models.map((_, place) => place);
  const settings = { shots: chosenShots(), temperature: Number(find("temperature").value), seed: Number(find("seed").value) };
  worker.postMessage({ kind: "summarize", id: asked, dialogue, models: order, ...settings });
}

function showTokens() {
  const summary = summaries.get(Number(find("whose").value));
  find("tokens").hidden = !summary;
  if (!summary) return;
  showStrip(find("strip"), summary.steps, (step) => showBars(find("bars"), step.bars));
}

const heard = {
  loading({ share }) {
    find("progress").value = share;
    if (share >= 1) find("status").textContent = "Making the models ready";
  },
  ready({ ms }) {
    find("loading").hidden = true;
    find("go").disabled = false;
    document.body.dataset.ready = String(Math.round(ms));
    navigator.serviceWorker?.controller?.postMessage("keep all");
    ask();
  },
  prepared({ tokens, window, notes }) {
    find("told").textContent = [`The prompt has ${tokens} of at most ${window} tokens.`, ...notes].join(" ");
  },
  token({ model, text }) {
    cards[model].write(text);
  },
  written({ model }) {
    if (model === 0) document.body.dataset.first = String(Math.round(performance.now() - begun));
  },
  summary(message) {
    summaries.set(message.model, message);
    cards[message.model].show(message);
    if (Number(find("whose").value) === message.model) showTokens();
  },
  done() {
    document.body.dataset.done = String(asked);
  },
  failed({ what }) {
    find("status").textContent = what;
    find("told").textContent = what;
    cards.forEach((card) => card.stop());
  },
};

worker.onmessage = ({ data }) => {
  if (data.id && data.id !== asked) return; // of an earlier question
  heard[data.kind](data);
};
worker.onerror = () => heard.failed({ what: "The models could not be loaded: this browser is too old, or the network broke off. Reload the page." });

fillPick();
find("whose").append(...plan.models.map((model, place) => Object.assign(make("option", model.name), { value: place })));
find("exemplar-dialogue").textContent = plan.exemplar.dialogue;
find("exemplar-summary").textContent = `Its summary: ${plan.exemplar.summary}`;
find("pick").addEventListener("change", showPicked);
find("dialogue").addEventListener("input", () => {
  if (shipped()?.text !== find("dialogue").value) find("pick").value = "";
  showPicked();
});
find("ask").addEventListener("input", showKnobs);
find("whose").addEventListener("change", showTokens);
find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
showPicked();
showKnobs();

// The service worker first, so that what is loaded now is kept for a visit without a network.
async function underWorker() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register(new URL("../sw.js", import.meta.url));
  if (navigator.serviceWorker.controller) return;
  const controlled = new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve));
  await Promise.race([controlled, new Promise((resolve) => setTimeout(resolve, 1500))]);
}
await underWorker().catch(() => {}); // the page works without, but not offline
worker.postMessage({ kind: "load", base: new URL("../", import.meta.url).href });
