use super::DType;
use half::{bf16, f16};

/// A floating-point type that the kernels compute on. All three convert to `f32` exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of binary32.
    BF16,
}

impl FloatType {
    /// All of them, for tests and benchmarks.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::BF16];

    /// The kernel type of a stored type, where there is one.
    pub fn from_dtype(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::BF16 => Some(Self::BF16),
            _ => None,
        }
    }

    /// The stored type.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The distance from 1 to the next number: the scale that compressed-tensors stores for a
    /// group of zeros.
    pub fn epsilon(self) -> f32 {
        match self {
            Self::F32 => f32::EPSILON,
            Self::F16 => f16::EPSILON.to_f32(),
            Self::BF16 => bf16::EPSILON.to_f32(),
        }
    }

    /// The largest finite number.
    pub fn largest(self) -> f32 {
        match self {
            Self::F32 => f32::MAX,
            Self::F16 => f16::MAX.to_f32(),
            Self::BF16 => bf16::MAX.to_f32(),
        }
    }

    /// `value` rounded to this type, half to even, as the `f32` of equal value.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::BF16 => bf16::from_f32(value).to_f32(),
        }
    }

    /// Element `index` of little-endian `data`.
    ///
    /// # Panics
    /// Where `index` lies outside `data`.
    pub fn load(self, data: &[u8], index: usize) -> f32 {
        let at = index * self.size();
        match self {
            Self::F32 => f32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes")),
            Self::F16 => {
                f16::from_le_bytes(data[at..at + 2].try_into().expect("two bytes")).to_f32()
            }
            Self::BF16 => {
                bf16::from_le_bytes(data[at..at + 2].try_into().expect("two bytes")).to_f32()
            }
        }
    }

    /// Decodes all of `data` into `out`.
    ///
    /// # Panics
    /// Where `data` is not `out.len()` elements long.
    pub fn decode(self, data: &[u8], out: &mut [f32]) {
        assert_eq!(data.len(), out.len() * self.size());
        match self {
            Self::F32 => {
                for (o, b) in out.iter_mut().zip(data.chunks_exact(4)) {
                    *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            // The integer form, because it vectorises and keeps every NaN payload.
            Self::BF16 => {
                for (o, b) in out.iter_mut().zip(data.chunks_exact(2)) {
                    *o = f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16);
                }
            }
            Self::F16 => {
                for (o, b) in out.iter_mut().zip(data.chunks_exact(2)) {
                    *o = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
        }
    }

    /// Encodes `values`, rounding half to even, at the end of `out`.
    pub fn encode(self, values: &[f32], out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Self::F16 => out.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
            Self::BF16 => {
                out.extend(values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()));
            }
        }
    }
}
