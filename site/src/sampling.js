// From logits to the next token.

// Probabilities of all tokens at a temperature above 0, Float64Array.
export function softmax(logits, temperature = 1) {
  let most = -Infinity;
  for (const each of logits) if (each > most) most = each;
  const shares = new Float64Array(logits.length);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += shares[i] = Math.exp((logits[i] - most) / temperature);
  for (let i = 0; i < shares.length; i++) shares[i] /= sum;
  return shares;
}

// The place of the largest number, the first of equals.
export function argmax(numbers) {
  let best = 0;
  for (let i = 1; i < numbers.length; i++) if (numbers[i] > numbers[best]) best = i;
  return best;
}

// The token into whose share of the line from 0 to 1 a number falls, 0 to below 1.
export function draw(shares, evenly) {
  let sum = 0;
  let last = 0;
  for (let i = 0; i < shares.length; i++) {
    sum += shares[i];
    if (shares[i] > 0) last = i;
    if (sum > evenly) return i;
  }
  return last; // rounding left the line a little short
}

// The likeliest tokens, [[token, share], ...], likeliest first.
export function likeliest(shares, count) {
  const places = [];
  for (let i = 0; i < shares.length; i++) {
    if (places.length === count && shares[i] <= shares[places.at(-1)]) continue;
    let at = places.length;
    while (at > 0 && shares[places[at - 1]] < shares[i]) at--;
    places.splice(at, 0, i);
    places.length = Math.min(places.length, count);
  }
  return places.map((place) => [place, shares[place]]);
}

// Numbers from 0 to below 1, the same for the same seed (mulberry32, public domain, Tommy Ettinger).
export function evenNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
