// Which words of a summary carry content and do not stand in its dialogue; as genai_labs.scoring.content has it.

import { stem } from "./stems.js";

const SPEAKER = /#?\bperson\s?\d+#?/giu;

// The stemmed content words of a text, in order. functionWords: a Set of words that are left out.
export function contentWords(text, functionWords) {
  const words = text.replace(SPEAKER, " ").toLowerCase().split(/[^a-z0-9]+/);
  const kept = words.filter((word) => word && !functionWords.has(word));
  return kept.map((word) => (word.length > 3 ? stem(word) : word));
}

// The summary in pieces, [text, whether it is marked]; joined they are the summary.
export function markUngrounded(summary, dialogue, functionWords) {
  const said = new Set(contentWords(dialogue, functionWords));
  return (summary.match(/\s+|\S+/g) ?? []).map((piece) => {
    const stems = contentWords(piece, functionWords);
    return [piece, stems.some((each) => !said.has(each))];
  });
}

// The share of a summary's content words that stand in the dialogue, 0 to 1; 0 where it has none.
export function grounded(summary, dialogue, functionWords) {
  const said = new Set(contentWords(dialogue, functionWords));
  const own = contentWords(summary, functionWords);
  return own.length ? own.filter((each) => said.has(each)).length / own.length : 0;
}
