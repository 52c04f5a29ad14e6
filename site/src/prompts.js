// The prompt around a dialogue, without or with one solved example; as genai_labs.prompting.prompts has it.

export function makePrompt(dialogue, template, exemplars) {
  const within = (text) => template.split("{dialogue}").join(text);
  const solved = exemplars.map((each) => `${within(each.dialogue)} ${each.summary}`);
  return [...solved, within(dialogue)].join("\n\n\n");
}
