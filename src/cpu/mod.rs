//! The CPU reference of each operation; it reads like the shader and never imports `gpu`.
//!
//! Every function is deterministic. All but the dense layers are single-threaded; callers run
//! several slabs in parallel.
//! The inner loops are compiled for several instruction sets, which changes no result: Rust
//! neither fuses nor reorders floating-point operations.

pub mod activation;
pub mod bitmask;
pub mod bitmask_codes;
mod blocks;
mod coded;
mod convert;
pub mod dense;
pub mod dense_grad;
pub mod dense_masked;
pub mod dense_packed;
pub mod dequantize;
mod exp;
pub mod fake_quantize;
pub mod gather;
pub mod histogram;
pub mod int8_inputs;
pub mod loss;
pub mod optimizer;
pub mod pack;
pub mod peak;
mod product;
pub mod prune;
pub mod prune_exact;
pub mod prune_nm;
pub mod quant_params;
pub mod quantize;
pub mod random;
pub mod simd;
pub mod slab;
pub mod softmax;
pub mod stats;
mod sums;
mod team;
mod threads;
pub mod top_k;
