//! The numbers that training draws.

use chacha20::ChaCha8Rng;
use chacha20::rand_core::SeedableRng;

/// What numbers are drawn for. Each purpose has streams of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// First weights; a stream a layer.
    Weights = 1,
    /// The order of rows; a stream an epoch.
    Order = 2,
}

/// Stream `number` for `purpose`.
///
/// ChaCha with 8 rounds (Bernstein's, with 64 bits of counter and 64 of nonce): the key is `seed`
/// in 8 bytes, `purpose` in 8 bytes and 16 bytes of zeros, all little-endian; the nonce is `number`
/// and the counter begins at 0. The stream is that of the cipher, so it never changes.
pub(super) fn stream(seed: u64, purpose: Purpose, number: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&(purpose as u64).to_le_bytes());
    let mut stream = ChaCha8Rng::from_seed(key);
    stream.set_stream(number);
    stream
}

#[cfg(test)]
mod tests {
    use chacha20::rand_core::Rng;

    use super::*;

    /// ChaCha as Bernstein defines it, written down once more.
    fn block(key: [u32; 8], nonce: u64, counter: u64) -> [u32; 16] {
        let [counter_low, counter_high] = [counter as u32, (counter >> 32) as u32];
        let [nonce_low, nonce_high] = [nonce as u32, (nonce >> 32) as u32];
        let mut start = [0_u32; 16];
        start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
        start[4..12].copy_from_slice(&key);
        start[12..].copy_from_slice(&[counter_low, counter_high, nonce_low, nonce_high]);
        let mut state = start;
        let mut quarter = |[a, b, c, d]: [usize; 4]| {
            for (sum, with, rotation) in
                [([a, b], d, 16), ([c, d], b, 12), ([a, b], d, 8), ([c, d], b, 7)]
            {
                state[sum[0]] = state[sum[0]].wrapping_add(state[sum[1]]);
                state[with] = (state[with] ^ state[sum[0]]).rotate_left(rotation);
            }
        };
        for _ in 0..4 {
            (0..4).for_each(|i| quarter([i, i + 4, i + 8, i + 12]));
            (0..4).for_each(|i| quarter([i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4]));
        }
        std::array::from_fn(|i| state[i].wrapping_add(start[i]))
    }

    #[test]
    fn streams_are_those_of_the_cipher() {
        for (seed, purpose, number) in
            [(0, Purpose::Weights, 0), (42, Purpose::Order, 7), (u64::MAX, Purpose::Order, 1 << 40)]
        {
            let mut key = [0; 8];
            key[..2].copy_from_slice(&[seed as u32, (seed >> 32) as u32]);
            key[2] = purpose as u32;
            let mut stream = stream(seed, purpose, number);
            for counter in 0..9 {
                let words: [u32; 16] = std::array::from_fn(|_| stream.next_u32());
                assert_eq!(words, block(key, number, counter), "{seed} {number} {counter}");
            }
        }
    }
}
