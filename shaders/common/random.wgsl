// Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw 2011): random words as a function of a
// key and a counter, so that nothing is stored and every device gives the same. Twin:
// src/cpu/random.rs.

fn rotated(x: u32, bits: u32) -> u32 {
    return (x << bits) | (x >> (32u - bits));
}

fn four_rounds(x: vec2<u32>, bits: vec4<u32>) -> vec2<u32> {
    var a = x.x + x.y;
    var b = rotated(x.y, bits.x) ^ a;
    a += b;
    b = rotated(b, bits.y) ^ a;
    a += b;
    b = rotated(b, bits.z) ^ a;
    a += b;
    b = rotated(b, bits.w) ^ a;
    return vec2(a, b);
}

fn threefry(key: vec2<u32>, counter: vec2<u32>) -> vec2<u32> {
    let third = key.x ^ key.y ^ 0x1bd11bdau;
    let even = vec4(13u, 15u, 26u, 6u);
    let odd = vec4(17u, 29u, 16u, 24u);
    var x = four_rounds(counter + key, even);
    x = four_rounds(x + vec2(key.y, third + 1u), odd);
    x = four_rounds(x + vec2(third, key.x + 2u), even);
    x = four_rounds(x + vec2(key.x, key.y + 3u), odd);
    x = four_rounds(x + vec2(key.y, third + 4u), even);
    return x + vec2(third, key.x + 5u);
}
