//!include common/float_bits.wgsl

// Elements lie in `weights: array<u32>`, which the kernel binds: one f32 or two 16-bit floats a word.

fn elements_per_word() -> u32 {
    return select(2u, 1u, DTYPE == 0u);
}

// Stored bits of an element.
fn element_bits(index: u32) -> u32 {
    if DTYPE == 0u {
        return weights[index];
    }
    return (weights[index >> 1u] >> ((index & 1u) * 16u)) & 0xffffu;
}

// f32 bits of an element.
fn element(index: u32) -> u32 {
    return widen(element_bits(index));
}

// The magnitude key: orders weights by magnitude as integers.
fn magnitude_key(index: u32) -> u32 {
    return element(index) & MAGNITUDE;
}
