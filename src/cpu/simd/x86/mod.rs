//! AVX2 and AVX-512, each with and without the dot products of VNNI.
//!
//! Every `unsafe` block here calls an instruction that the value of the type vouches for: only the
//! `run_` functions make one, which are compiled for it and called where it was found. Loads and
//! stores go through references of the right size.

mod avx2;
mod avx512;

use std::arch::is_x86_feature_detected as has;

use super::Kernel;
use avx2::Avx2;
use avx512::Avx512;

pub(super) fn has_avx2() -> bool {
    has!("avx2") && has!("fma") && has!("f16c") && has!("popcnt") && has!("bmi2")
}

pub(super) fn has_avx_vnni() -> bool {
    has_avx2() && has!("avxvnni")
}

pub(super) fn has_avx512() -> bool {
    let wide = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    has_avx2() && wide
}

pub(super) fn has_avx512_vnni() -> bool {
    has_avx512() && has!("avx512vnni")
}

/// # Safety
/// For processors that [`has_avx2`] accepts.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2")]
pub(super) unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2::<false>(()))
}

/// # Safety
/// For processors that [`has_avx_vnni`] accepts.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2,avxvnni")]
pub(super) unsafe fn run_avx_vnni<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx2::<true>(()))
}

/// # Safety
/// For processors that [`has_avx512`] accepts.
#[target_feature(enable = "avx2,fma,f16c,popcnt,bmi2,avx512f,avx512bw,avx512dq,avx512vl")]
pub(super) unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<false>(()))
}

/// # Safety
/// For processors that [`has_avx512_vnni`] accepts.
#[target_feature(
    enable = "avx2,fma,f16c,popcnt,bmi2,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"
)]
pub(super) unsafe fn run_avx512_vnni<K: Kernel>(kernel: K) -> K::Output {
    kernel.run(Avx512::<true>(()))
}
