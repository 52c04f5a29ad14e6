// The models of the page: loaded once, then reading, writing and classifying, all on this machine.

import { Tokenizer } from "../vendor/tokenizers.mjs";
import * as ort from "../vendor/ort.mjs";
import { fit, readable, withNames, withTags } from "./dialogue.js";
import { makePrompt } from "./prompts.js";
import { argmax, draw, evenNumbers, likeliest, softmax } from "./sampling.js";
import { expand, fetchUnpacked, numbersOf, stackAdapters } from "./weights.js";

const BARS = 6; // candidates that are kept of each token

const getJson = async (address) => {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} could not be loaded (${answer.status}). Reload the page.`);
  return answer.json();
};

const getBytes = async (address) => new Uint8Array(await (await fetch(address)).arrayBuffer());

export class Lab {
  // Loads everything; told(share) hears how much of the bytes has come, 0 to 1.
  static async load(base, told = () => {}) {
    const lab = new Lab();
    const at = (name) => new URL(name, base).href;
    lab.plan = await getJson(at("model/plan.json"));
    let come = 0;
    const count = (bytes) => told(Math.min((come += bytes) / lab.plan.bytes, 1));
    const [engine, packed, graphs, tokenizers] = await Promise.all([
      fetchUnpacked(at("vendor/ort.wasm.gz"), count),
      fetchUnpacked(at("model/weights.bin.gz"), count),
      Promise.all(Object.values(lab.plan.graphs).map((name) => getBytes(at(name)))),
      Promise.all(Object.values(lab.plan.tokenizers).map((name) => getJson(at(name)))),
    ]);
    ort.env.wasm.numThreads = 1; // more would need headers that a static host does not send
    ort.env.wasm.wasmBinary = engine;
    const memory = new Uint8Array(expand(packed, lab.plan.parts).buffer);
    const externalData = [{ path: lab.plan.memory, data: memory }];
    // Errors alone are told. Rewriting the graphs took longer than it saved.
    const settings = { externalData, logSeverityLevel: 3, graphOptimizationLevel: "disabled" };
    const graphOf = Object.fromEntries(Object.keys(lab.plan.graphs).map((name, i) => [name, graphs[i]]));
    const started = {};
    lab.session = (name) => (started[name] ??= ort.InferenceSession.create(graphOf[name], settings));
    for (const name of ["reader", "writer"]) await lab.session(name); // the classifiers when they are first asked
    lab.tokenizers = Object.fromEntries(
      Object.keys(lab.plan.tokenizers).map((name, i) => [name, new Tokenizer(tokenizers[i].model, tokenizers[i].config)]),
    );
    lab.adapters = lab.plan.models.map((model) => lab.stacksOf(model.adapters, packed));
    lab.known = { ...lab.plan.known, known: new Set(lab.plan.known.known) };
    return lab;
  }

  // For each of the two graphs, the inputs that make it the model with these adapters.
  stacksOf(names, packed) {
    return Object.fromEntries(
      Object.entries(this.plan.kinds).map(([graph, kinds]) => {
        const stored = names.map((name) => this.plan.adapters[name][graph]);
        const numbers = stored.map((each) =>
          Object.fromEntries(
            Object.entries(each).map(([kind, { rank, a, b }]) => [
              kind,
              { rank, a: numbersOf(packed, a), b: numbersOf(packed, b) },
            ]),
          ),
        );
        const stacks = Object.entries(stackAdapters(kinds, numbers));
        return [graph, Object.fromEntries(stacks.map(([name, x]) => [name, new ort.Tensor("float32", x.data, x.dims)]))];
      }),
    );
  }

  idsOf(text, tokenizer = "t5") {
    return this.tokenizers[tokenizer].encode(text).ids;
  }

  textOf(ids) {
    return this.tokenizers.t5.decode(ids, { skip_special_tokens: true }).trim();
  }

  // {prompt, ids, names, notes, text}: a dialogue as somebody typed it, made ready. Throws where nothing is left of it.
  prepare(typed, shots) {
    const tagged = withTags(typed);
    const made = readable(tagged.text, this.known, (text) => this.idsOf(text));
    if (!made.text.trim()) {
      throw new Error("There is no dialogue to summarize. Type one, a turn a line, such as “Anna: Are you coming?”");
    }
    const notes = [];
    if (made.lost) notes.push(`The model does not know these characters, which were left out: ${[...made.lost].join(" ")}`);
    if (tagged.isPlain) notes.push("No line names a speaker, such as “Anna: Hello.” The model knows dialogues only.");
    const exemplars = this.plan.exemplars.slice(0, shots);
    const make = (text) => makePrompt(text, this.plan.template, exemplars);
    const fitted = fit(make, made.text, (text) => this.idsOf(text).length, this.plan.window);
    if (fitted.turnsCut) {
      const cut = fitted.turnsCut === 1 ? "1 turn was" : `${fitted.turnsCut} turns were`;
      notes.push(`Too long: ${cut} cut from the middle of the dialogue.`);
    };
    return { prompt: fitted.prompt, ids: this.idsOf(fitted.prompt), names: tagged.names, notes, text: made.text };
  }

  // What one model writes. temperature 0: the likeliest token each time. told(ids) hears every token and may be
  // async; where it gives false, writing stops. {ids, text, steps: [[token, [[candidate, share], ...]], ...]}.
  async write(model, ids, { temperature = 0, seed = 0, told = () => true } = {}) {
    const { reader, writer } = this.adapters[model];
    const input = new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [ids.length]);
    const { source } = await (await this.session("reader")).run({ ids: input, ...reader });
    const [layers, two, heads, , width] = source.dims;
    const session = await this.session("writer");
    let written = new ort.Tensor("float32", new Float32Array(0), [layers, two, heads, 0, width]);
    let last = this.plan.start_token;
    const evenly = evenNumbers(seed);
    const made = [];
    const steps = [];
    while (made.length < this.plan.most_tokens) {
      const token = new ort.Tensor("int64", BigInt64Array.of(BigInt(last)), [1]);
      const { logits, kept } = await session.run({ token, source, written, ...writer });
      written = kept;
      const shares = softmax(logits.data, temperature || 1);
      last = temperature ? draw(shares, evenly()) : argmax(logits.data);
      steps.push([last, likeliest(shares, BARS)]);
      made.push(last);
      if (last === this.plan.end_token) break;
      if ((await told(made)) === false) return null;
    }
    return { ids: made, text: this.textOf(made), steps };
  }

  // How much a classifier takes a text for hate: {hate, reward}, its probability and the logit of "nothate".
  async classify(name, text) {
    const { hate, nothate, window } = this.plan.classifiers[name];
    const ids = this.idsOf(text, name).slice(0, window);
    const input = new ort.Tensor("int64", BigInt64Array.from(ids, BigInt), [ids.length]);
    const { logits } = await (await this.session(name)).run({ ids: input });
    return { hate: softmax(logits.data)[hate], reward: logits.data[nothate] };
  }

  // A token as it looks in a text, a space in front of it where it begins a word.
  tokenText(id) {
    return this.tokenizers.t5.id_to_token(id).replaceAll("▁", " ");
  }

  withNames(text, names) {
    return withNames(text, names);
  }
}
