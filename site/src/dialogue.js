// A dialogue made ready for the model: names become tags, unknown characters known ones, and what is too long is cut.
// As genai_labs.prompting.speakers, genai_labs.inputs.text and genai_labs.prompting.prompts have it.

const TAGGED = /^\s*#Person\d+#\s*:/mu;
const TIME = String.raw`(?:[\[(]?\d[\d:\/.,\- ]{0,30}(?:[AP]M)?[\])]?[\s\-–]{0,3})?`;
const LETTER = String.raw`[\p{L}\p{N}_.'’\-]`;
const NAMED = new RegExp(String.raw`^\s*${TIME}(\p{L}${LETTER}*(?: (?![a-z])${LETTER}+){0,3})\s?:(?![\/\d])\s*(.*)`, "u");

const lines = (text) => {
  const all = text.split(/\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/);
  if (all.at(-1) === "") all.pop();
  return all;
};

// {text, names, isPlain}: "Anna: Hello." becomes "#Person1#: Hello."; a text without speakers is plain and stays.
export function withTags(whole) {
  if (TAGGED.test(whole)) return { text: whole, names: [], isPlain: false };
  const kept = lines(whole).map((line) => line.trim()).filter(Boolean);
  if (!kept.length || !NAMED.test(kept[0])) return { text: whole, names: [], isPlain: true };
  const names = new Map();
  const turns = [];
  for (const line of kept) {
    const match = NAMED.exec(line);
    if (match) {
      const key = match[1].toLowerCase();
      if (!names.has(key)) names.set(key, match[1]);
      turns.push(`#Person${[...names.keys()].indexOf(key) + 1}#: ${match[2]}`.trimEnd());
    } else {
      turns[turns.length - 1] += ` ${line}`;
    }
  }
  return { text: turns.join("\n"), names: [...names.values()], isPlain: false };
}

// The summary with names in place of #Person1# and so on.
export function withNames(summary, names) {
  return summary.replace(/#Person(\d+)#/g, (tag, number) => names[number - 1] ?? tag);
}

const SILENT = /[\p{P}\p{Sk}\p{Sc}\p{Lm}\p{M}\p{Z}\p{Cc}\p{Cf}]/u; // what nobody misses when it is left out

// {text, lost}: the text with what the tokenizer does not know replaced, and the characters that had to be left out.
// known: {known, like, currencies, amount, unknown} as the build wrote them; idsOf: the tokenizer.
export function readable(text, known, idsOf) {
  const whole = text.toWellFormed?.() ?? text;
  if (!idsOf(whole).includes(known.unknown)) return { text: whole, lost: "" };
  let made = whole.replaceAll(known.unknownToken, " ").normalize("NFKC");
  for (const [sign, name] of Object.entries(known.currencies)) {
    const amount = new RegExp(`${sign === "$" ? "\\$" : sign}${known.amount}`, "gu");
    made = made.replace(amount, `$1 ${name}`).replaceAll(sign, ` ${name}`);
  }
  const lost = new Set();
  const replaced = (char) => {
    if (known.known.has(char)) return char;
    if (char in known.like) return known.like[char];
    if (!SILENT.test(char)) lost.add(char);
    return "";
  };
  made = [...made].map(replaced).join("").replace(/ {2,}/g, " ");
  if (idsOf(made).includes(known.unknown)) {
    made = [...made].filter((char) => char < "\x80" && known.known.has(char)).join("");
  }
  return { text: made, lost: [...lost].join("") };
}

// {prompt, over, turnsCut}: make(dialogue), with turns cut from its middle until it has at most window tokens.
// Throws where that does not help.
export function fit(make, dialogue, lengthOf, window) {
  const turns = lines(dialogue);
  const over = Math.max(lengthOf(make(dialogue)) - window, 0);
  const without = (cut) => {
    const kept = turns.length - cut;
    const behind = Math.floor(kept / 2);
    return make([...turns.slice(0, kept - behind), ...turns.slice(turns.length - behind)].join("\n"));
  };
  for (let cut = 0; cut === 0 || cut <= turns.length - 2; cut++) {
    const prompt = without(cut);
    if (lengthOf(prompt) <= window) return { prompt, over, turnsCut: cut };
  }
  throw new Error(
    `The prompt is ${over} tokens longer than the model's window of ${window}, and cutting the dialogue does not ` +
      "help, because its turns are too long. Shorten them, or show no exemplar.",
  );
}
