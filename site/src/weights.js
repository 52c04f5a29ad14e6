// The packed weights of the page, expanded into the fp32 that the graphs compute with; as course_site.packing has it.

// The bytes of a gzipped file; told(bytes) hears how many have come.
export async function fetchUnpacked(address, told = () => {}) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address} could not be loaded (${answer.status}). Reload the page.`);
  const counted = new TransformStream({
    transform(chunk, out) {
      told(chunk.byteLength);
      out.enqueue(chunk);
    },
  });
  const plain = answer.body.pipeThrough(counted).pipeThrough(new DecompressionStream("gzip"));
  return new Response(plain).arrayBuffer();
}

const HALVES = (() => {
  const whole = new Float32Array(65536); // every fp16 number
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size = exponent === 31 ? Infinity : exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : fraction * 2 ** -24;
    whole[bits] = bits & 32768 ? -size : size;
  }
  return whole;
})();

// count fp16 numbers from byte start on, as fp32.
function halves(bytes, start, count) {
  return Float32Array.from(new Uint16Array(bytes, start, count), (bits) => HALVES[bits]);
}

// The numbers of one part, as fp32. part: see course_site.packing.Pack.
export function numbersOf(bytes, part) {
  if (!("step" in part)) return halves(bytes, part.start, part.count);
  if (!("high" in part)) return Float32Array.from(new Int8Array(bytes, part.start, part.count), (x) => x * part.step);
  const made = new Float32Array(part.count);
  const low = new Uint8Array(bytes, part.start); // six bits of each number, four numbers in three bytes
  const high = new Int8Array(bytes, part.high, part.count);
  for (let place = 0, byte = 0; place < made.length; byte += 3) {
    let four = low[byte] | (low[byte + 1] << 8) | (low[byte + 2] << 16);
    for (const end = Math.min(place + 4, made.length); place < end; place++, four >>= 6) {
      made[place] = (high[place] * 64 + (four & 63)) * part.step;
    }
  }
  return made;
}

// All weights of the graphs in one piece of memory, as fp32.
export function expand(bytes, parts) {
  const memory = new Float32Array(parts.reduce((most, part) => Math.max(most, part.memory / 4 + part.count), 0));
  for (const part of parts) memory.set(numbersOf(bytes, part), part.memory / 4);
  return memory;
}

// Adapters side by side, as the graphs take them in: for each kind of matrix A, [matrices, in, rank], and B.
// kinds: [{kind, matrices, in, out}] of a graph; adapters: [{kind: {rank, a, b}}], a and b as they are stored.
export function stackAdapters(kinds, adapters) {
  const stacks = {};
  for (const { kind, matrices, in: width, out } of kinds) {
    const own = adapters.map((adapter) => adapter[kind]).filter(Boolean);
    const rank = own.reduce((sum, each) => sum + each.rank, 0) || 1;
    const a = new Float32Array(matrices * width * rank);
    const b = new Float32Array(matrices * rank * out);
    let before = 0;
    for (const each of own) {
      for (let matrix = 0; matrix < matrices; matrix++) {
        for (let row = 0; row < width; row++) {
          const from = (matrix * width + row) * each.rank;
          a.set(each.a.subarray(from, from + each.rank), (matrix * width + row) * rank + before);
        }
        const rows = each.b.subarray(matrix * each.rank * out, (matrix + 1) * each.rank * out);
        b.set(rows, (matrix * rank + before) * out);
      }
      before += each.rank;
    }
    stacks[`${kind}_a`] = { data: a, dims: [matrices, width, rank] };
    stacks[`${kind}_b`] = { data: b, dims: [matrices, rank, out] };
  }
  return stacks;
}
