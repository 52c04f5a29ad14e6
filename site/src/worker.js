// Runs the models beside the page, so that the page answers while they write. Asks and answers are plain messages.

import { Lab } from "./lab.js";
import { grounded, markUngrounded } from "./words.js";

let loading;
let newest = 0; // a new request stops those before it

// Lets messages in. A timer would take four milliseconds each time.
const channel = new MessageChannel();
const pause = () =>
  new Promise((resolve) => {
    channel.port1.onmessage = resolve;
    channel.port2.postMessage(null);
  });

async function load(base) {
  const start = performance.now();
  const lab = await Lab.load(base, (share) => postMessage({ kind: "loading", share }));
  postMessage({ kind: "ready", ms: performance.now() - start });
  return lab;
}

async function summarize(lab, { id, dialogue, shots, temperature, seed, models }) {
  const ready = lab.prepare(dialogue, shots);
  postMessage({ kind: "prepared", id, tokens: ready.ids.length, window: lab.plan.window, notes: ready.notes });
  const functionWords = new Set(lab.plan.function_words);
  const source = ready.names.length ? dialogue : ready.text;
  for (const model of models) {
    const start = performance.now();
    const told = async (ids) => {
      postMessage({ kind: "token", id, model, text: lab.withNames(lab.textOf(ids), ready.names) });
      await pause(); // hears whether something else is asked for
      return id === newest;
    };
    const made = await lab.write(model, ready.ids, { temperature, seed, told });
    if (!made) return;
    const ms = performance.now() - start;
    postMessage({ kind: "written", id, model });
    const [reward, judge] = [await lab.classify("reward", made.text), await lab.classify("judge", made.text)];
    const text = lab.withNames(made.text, ready.names);
    postMessage({
      kind: "summary",
      id,
      model,
      ms,
      text,
      ids: made.ids,
      pieces: markUngrounded(text, source, functionWords),
      grounded: grounded(made.text, ready.text, functionWords),
      toxicity: { reward, judge },
      steps: made.steps.map(([token, bars]) => ({
        token: lab.tokenText(token),
        bars: bars.map(([each, share]) => ({ token: lab.tokenText(each), share, chosen: each === token })),
      })),
    });
  }
  postMessage({ kind: "done", id });
}

onmessage = async ({ data }) => {
  if (data.id) newest = data.id;
  try {
    if (data.kind === "load") await (loading = load(data.base));
    else await summarize(await loading, data);
  } catch (error) {
    postMessage({ kind: "failed", id: data.id, what: error.message });
  }
};
