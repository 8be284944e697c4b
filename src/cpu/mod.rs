//! The CPU reference of each operation; it reads like the shader and never imports `gpu`.
//!
//! Every function is single-threaded and deterministic; callers run several slabs in parallel.

pub mod bitmask;
pub mod dequantize;
pub mod histogram;
pub mod pack;
pub mod prune;
pub mod prune_nm;
pub mod quant_params;
pub mod quantize;
pub mod slab;
pub mod stats;
