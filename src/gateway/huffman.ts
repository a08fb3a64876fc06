/** The Huffman code of HPACK (RFC 7541, appendix B), decoding only: our encoder sends plain strings. */

/**
 * Bits of the code of each byte, then of the end-of-string symbol. The code is canonical: codes of one length are
 * consecutive in the order of their symbols, so the lengths say everything.
 */
const CODE_BITS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28,
  28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7,
  8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19,
  13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13,
  28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21,
  22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23,
  22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25,
  25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

const END_OF_STRING = 256;

/** The code as a binary tree in one array: node n has its branches at 2n and 2n + 1; a leaf is ~symbol. */
const TREE = buildTree();

/** The text (latin1) of these Huffman-coded bytes, or undefined when they are no valid code. */
export function huffmanDecode(bytes: Buffer): string | undefined {
  // The shortest code has 5 bits.
  const target = Buffer.allocUnsafe(Math.floor((bytes.length * 8) / 5));
  let length = 0;
  let node = 0;
  let pendingBits = 0;
  let pendingOnes = true;
  for (const byte of bytes) {
    for (let bit = 7; bit >= 0; bit--) {
      const branch = (byte >> bit) & 1;
      const next = TREE[node * 2 + branch] ?? 0;
      if (next < 0) {
        const symbol = ~next;
        if (symbol === END_OF_STRING) return undefined;
        target[length++] = symbol;
        node = 0;
        pendingBits = 0;
        pendingOnes = true;
      } else {
        node = next;
        pendingBits += 1;
        pendingOnes = pendingOnes && branch === 1;
      }
    }
  }
  // Padding is at most 7 bits, all ones: the start of the end-of-string code (RFC 7541, section 5.2).
  return pendingBits <= 7 && pendingOnes ? target.toString('latin1', 0, length) : undefined;
}

function buildTree(): Int16Array {
  const tree = new Int16Array(2 * 512);
  const symbols = CODE_BITS.map((bits, symbol) => ({ bits, symbol }));
  symbols.sort((a, b) => a.bits - b.bits || a.symbol - b.symbol);
  let nodes = 1;
  let code = 0;
  let lastBits = symbols[0]?.bits ?? 0;
  for (const { bits, symbol } of symbols) {
    code <<= bits - lastBits;
    lastBits = bits;
    let node = 0;
    for (let bit = bits - 1; bit > 0; bit--) {
      const slot = node * 2 + ((code >> bit) & 1);
      if (tree[slot] === 0) tree[slot] = nodes++;
      node = tree[slot] ?? 0;
    }
    tree[node * 2 + (code & 1)] = ~symbol;
    code += 1;
  }
  return tree;
}
