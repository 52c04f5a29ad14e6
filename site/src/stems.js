// Stems of English words as NLTK's PorterStemmer gives them, by which the labs compare words.
// Porter 1980, https://tartarus.org/martin/PorterStemmer/, with the changes that NLTK makes by default.

const IRREGULAR = new Map([
  ["sky", "sky"], ["skies", "sky"], ["dying", "die"], ["lying", "lie"], ["tying", "tie"], ["news", "news"],
  ["innings", "inning"], ["inning", "inning"], ["outings", "outing"], ["outing", "outing"], ["cannings", "canning"],
  ["canning", "canning"], ["howe", "howe"], ["proceed", "proceed"], ["exceed", "exceed"], ["succeed", "succeed"],
]);

const STEP_2 = [
  ["ational", "ate"], ["tional", "tion"], ["enci", "ence"], ["anci", "ance"], ["izer", "ize"], ["bli", "ble"],
  ["alli", "al"], ["entli", "ent"], ["eli", "e"], ["ousli", "ous"], ["ization", "ize"], ["ation", "ate"],
  ["ator", "ate"], ["alism", "al"], ["iveness", "ive"], ["fulness", "ful"], ["ousness", "ous"], ["aliti", "al"],
  ["iviti", "ive"], ["biliti", "ble"], ["fulli", "ful"],
];
const STEP_3 = [
  ["icate", "ic"], ["ative", ""], ["alize", "al"], ["iciti", "ic"], ["ical", "ic"], ["ful", ""], ["ness", ""],
];
const STEP_4 = [
  "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion", "ou", "ism", "ate", "iti",
  "ous", "ive", "ize",
];

// "c" for each consonant, "v" for each vowel; y is a vowel behind a consonant.
function kinds(word) {
  let made = "";
  for (let i = 0; i < word.length; i++) {
    const vowel = "aeiou".includes(word[i]) || (word[i] === "y" && i > 0 && made[i - 1] === "c");
    made += vowel ? "v" : "c";
  }
  return made;
}

const measure = (stem) => kinds(stem).split("vc").length - 1;
const hasVowel = (stem) => kinds(stem).includes("v");

function endsLikeHop(word) {
  const made = kinds(word);
  return (made.endsWith("cvc") && !"wxy".includes(word.at(-1))) || made === "vc";
}

// The first rule whose ending fits decides, whether or not its condition holds.
function byRules(word, rules, condition) {
  for (const [end, instead] of rules) {
    if (word.endsWith(end)) {
      const stem = word.slice(0, word.length - end.length);
      return condition(stem, end) ? stem + instead : word;
    }
  }
  return word;
}

function step1a(word) {
  if (word.endsWith("ies") && word.length === 4) return word.slice(0, -1);
  return byRules(word, [["sses", "ss"], ["ies", "i"], ["ss", "ss"], ["s", ""]], () => true);
}

function step1b(word) {
  if (word.endsWith("ied")) return word.slice(0, word.length === 4 ? -1 : -2);
  if (word.endsWith("eed")) return measure(word.slice(0, -3)) > 0 ? word.slice(0, -1) : word;
  const end = ["ed", "ing"].find((each) => word.endsWith(each) && hasVowel(word.slice(0, -each.length)));
  if (!end) return word;
  const stem = word.slice(0, -end.length);
  if (/(at|bl|iz)$/.test(stem)) return stem + "e";
  if (stem.length > 1 && stem.at(-1) === stem.at(-2) && kinds(stem).endsWith("c")) {
    return "lsz".includes(stem.at(-1)) ? stem : stem.slice(0, -1);
  }
  return measure(stem) === 1 && endsLikeHop(stem) ? stem + "e" : stem;
}

function step1c(word) {
  return byRules(word, [["y", "i"]], (stem) => stem.length > 1 && kinds(stem).endsWith("c"));
}

function step2(word) {
  const positive = (stem) => measure(stem) > 0;
  if (word.endsWith("alli") && positive(word.slice(0, -4))) return step2(word.slice(0, -2));
  const made = byRules(word, STEP_2, positive);
  if (made !== word || STEP_2.some(([end]) => word.endsWith(end))) return made;
  return word.endsWith("logi") && positive(word.slice(0, -3)) ? word.slice(0, -1) : word;
}

function step4(word) {
  const allowed = (stem, end) => measure(stem) > 1 && (end !== "ion" || /[st]$/.test(stem));
  return byRules(word, STEP_4.map((end) => [end, ""]), allowed);
}

function step5(word) {
  let made = word;
  if (made.endsWith("e")) {
    const stem = made.slice(0, -1);
    if (measure(stem) > 1 || (measure(stem) === 1 && !endsLikeHop(stem))) made = stem;
  }
  return made.endsWith("ll") && measure(made.slice(0, -1)) > 1 ? made.slice(0, -1) : made;
}

// The stem of a word in lower case.
export function stem(word) {
  if (IRREGULAR.has(word)) return IRREGULAR.get(word);
  if (word.length <= 2) return word;
  return step5(step4(byRules(step2(step1c(step1b(step1a(word)))), STEP_3, (each) => measure(each) > 0)));
}
