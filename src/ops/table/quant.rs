//! Cases of the operations on codes.

use super::data::{SHAPES, edges, for_all, gaussian, random, scheme, schemes, tiny, words_bytes};
use super::{Case, Output, Work};
use crate::cpu;
use crate::ops::{bitmask_codes, dequantize, pack, quant_params, quantize};
use crate::scheme::{Bits, Granularity, QuantParams, QuantScheme, SegmentStats};
use crate::tensor::{FloatType, Matrix};

pub(super) fn params_bytes(params: &QuantParams) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("scale", bytemuck::cast_slice(&params.scale).to_vec()),
        ("zero point", bytemuck::cast_slice(&params.zero_point).to_vec()),
    ]
}

pub(super) fn quant_params_case(
    float: FloatType,
    stats: Vec<SegmentStats>,
    scheme: QuantScheme,
    what: &str,
) -> Case {
    let segments = stats.len() as u64;
    Case {
        name: format!("{float:?} {segments} segments, {scheme:?}, {what}"),
        work: Work { read: segments * 20, written: segments * 8, ..Work::default() },
        run: Box::new(move |backend| {
            let params = quant_params::compute(backend, float, &stats, &scheme)?;
            Ok(Output { parts: params_bytes(&params) })
        }),
        reference: None,
    }
}

pub(super) fn quant_params_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        let mut stats = cpu::stats::segments(float, &edges(float, 20_000, 1, true), 9);
        stats.extend(cpu::stats::segments(float, &gaussian(float, 20_000, 2), 11));
        stats.extend(cpu::stats::segments(float, &tiny(float, 20_000, 3), 7));
        stats.push(SegmentStats::default());
        let huge = float.round(match float {
            FloatType::F16 => 65_504.0,
            FloatType::F32 | FloatType::BF16 => 3.3e38,
        });
        stats.push(SegmentStats { min: -huge, max: huge, abs_max: huge, non_finite: 0, zeros: 0 });
        for scheme in schemes() {
            cases.push(quant_params_case(float, stats.clone(), scheme, "mixed"));
        }
        cases.push(quant_params_case(float, vec![], schemes()[0], "none"));
    });
    cases
}

pub(super) fn params_of(
    float: FloatType,
    data: &[u8],
    (rows, cols): (usize, usize),
    scheme: &QuantScheme,
) -> QuantParams {
    if data.is_empty() {
        return QuantParams::default();
    }
    // Groups do not cross rows, so rows are taken one at a time unless one scale serves all.
    let stats: Vec<_> = match scheme.granularity {
        Granularity::Tensor => cpu::stats::segments(float, data, rows * cols),
        Granularity::Channel => cpu::stats::segments(float, data, cols),
        Granularity::Group(size) => data
            .chunks_exact(cols * float.size())
            .flat_map(|row| cpu::stats::segments(float, row, size))
            .collect(),
    };
    cpu::quant_params::compute(float, &stats, scheme)
}

pub(super) fn quantize_case(
    float: FloatType,
    data: Vec<u8>,
    cols: usize,
    scheme: QuantScheme,
    what: &str,
) -> Case {
    let rows = data.len() / float.size() / cols;
    let params = params_of(float, &data, (rows, cols), &scheme);
    let segments = params.scale.len() as u64;
    Case {
        name: format!("{float:?} [{rows}, {cols}], {scheme:?}, {what}"),
        work: Work {
            read: data.len() as u64 + segments * 8,
            written: (rows * scheme.words_per_row(cols) * 4) as u64,
            ..Work::default()
        },
        run: Box::new(move |backend| {
            let weights = Matrix::new(float, rows, cols, &data)?;
            let (packed, saturated) = quantize::packed(backend, weights, &params, &scheme)?;
            let parts = vec![
                ("codes", words_bytes(&packed)),
                ("saturated", saturated.to_le_bytes().to_vec()),
            ];
            Ok(Output { parts })
        }),
        reference: None,
    }
}

pub(super) fn quantize_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for scheme in schemes() {
            for (i, (rows, cols)) in SHAPES.into_iter().enumerate() {
                let data = edges(float, rows * cols, i as u64, true);
                cases.push(quantize_case(float, data, cols, scheme, "edges"));
            }
            let data = gaussian(float, 64 * 256, 3);
            cases.push(quantize_case(float, data, 256, scheme, "gaussian"));
            let data = tiny(float, 64 * 64, 4);
            cases.push(quantize_case(float, data, 64, scheme, "tiny"));
        }
    });
    cases
}

pub(super) fn dequantize_case(
    float: FloatType,
    data: &[u8],
    cols: usize,
    scheme: QuantScheme,
    what: &str,
) -> Case {
    let rows = data.len() / float.size() / cols;
    let params = params_of(float, data, (rows, cols), &scheme);
    let weights = Matrix { float, rows, cols, data };
    let (packed, _) = cpu::quantize::packed(weights, &params, &scheme);
    Case {
        name: format!("{float:?} [{rows}, {cols}], {scheme:?}, {what}"),
        work: Work {
            read: (packed.len() * 4 + params.scale.len() * 8) as u64,
            written: data.len() as u64,
            ..Work::default()
        },
        run: Box::new(move |backend| {
            let shape = (rows, cols);
            let dense = dequantize::dense(backend, float, &packed, shape, &params, &scheme)?;
            Ok(Output { parts: vec![("weights", dense)] })
        }),
        reference: None,
    }
}

pub(super) fn dequantize_cases() -> Vec<Case> {
    let mut cases = vec![];
    for_all(|float| {
        for scheme in schemes() {
            for (i, (rows, cols)) in SHAPES.into_iter().enumerate() {
                let data = edges(float, rows * cols, i as u64, false);
                cases.push(dequantize_case(float, &data, cols, scheme, "edges"));
            }
            cases.push(dequantize_case(float, &tiny(float, 64 * 64, 4), 64, scheme, "tiny"));
        }
    });
    cases
}

pub(super) fn pack_case(count: usize, cols: usize, bits: Bits, what: &str) -> Case {
    let half = 1_i64 << (bits as u32 - 1);
    let codes: Vec<i8> = (0..count as u64)
        .map(|i| ((random(6, i) % (2 * half as u64)) as i64 - half) as i8)
        .collect();
    let packed = (count / cols.max(1) * (cols * bits as usize).div_ceil(32) * 4) as u64;
    Case {
        name: format!("{bits:?} {count} codes, rows of {cols}, {what}"),
        work: Work {
            read: count as u64 + packed,
            written: count as u64 + packed,
            ..Work::default()
        },
        run: Box::new(move |backend| {
            let packed = pack::pack(backend, &codes, cols, bits)?;
            let unpacked = pack::unpack(backend, &packed, cols, bits)?;
            let unpacked = bytemuck::cast_slice(&unpacked).to_vec();
            Ok(Output { parts: vec![("words", words_bytes(&packed)), ("codes", unpacked)] })
        }),
        reference: None,
    }
}

pub(super) fn pack_cases() -> Vec<Case> {
    let mut cases = vec![];
    for bits in [Bits::Two, Bits::Four, Bits::Eight] {
        for (rows, cols) in SHAPES {
            cases.push(pack_case(rows * cols, cols, bits, "all codes"));
        }
    }
    cases
}

/// Codes of which about `share` are their zero point.
pub(super) fn bitmask_codes_case(
    (rows, cols): (usize, usize),
    scheme: QuantScheme,
    share: f64,
    lead: usize,
) -> Case {
    let half = 1_i64 << (scheme.bits as u32 - 1);
    let any = |seed, i| ((random(seed, i) % (2 * half as u64)) as i64 - half) as i8;
    let segments = match scheme.granularity {
        Granularity::Tensor => usize::from(rows > 0),
        Granularity::Channel => rows,
        Granularity::Group(size) => rows * cols.div_ceil(size),
    };
    let zero_point: Vec<i8> = (0..segments as u64).map(|i| any(21, i)).collect();
    let zero_of = |row: usize, col: usize| match scheme.granularity {
        _ if scheme.symmetric => 0,
        Granularity::Tensor => zero_point[0],
        Granularity::Channel => zero_point[row],
        Granularity::Group(size) => zero_point[row * cols.div_ceil(size) + col / size],
    };
    let code = |i: usize| match random(22, i as u64) % 1000 < (share * 1000.0) as u64 {
        true => zero_of(i / cols, i % cols),
        false => any(23, i as u64),
    };
    let codes: Vec<i8> = (0..rows * cols).map(code).collect();
    let packed = cpu::pack::pack(&codes, cols, scheme.bits);
    let zero_point = if scheme.symmetric { vec![] } else { zero_point };
    let params = QuantParams { scale: vec![1.0; segments], zero_point };
    let kept = cpu::bitmask_codes::encode(&packed, rows, cols, lead, &params, &scheme);
    let bytes = ((packed.len() + kept.words.len()) * 4 + kept.bitmask.len()) as u64;
    Case {
        name: format!("[{rows}, {cols}], {scheme:?}, {share} zeros after {lead} places"),
        work: Work { read: bytes, written: bytes, ..Work::default() },
        run: Box::new(move |backend| {
            let shape = (rows, cols);
            let kept = bitmask_codes::encode(backend, &packed, shape, lead, &params, &scheme)?;
            let decoded = bitmask_codes::decode(backend, &kept, cols, &params, &scheme)?;
            let parts = vec![
                ("stream", words_bytes(&kept.words)),
                ("bitmask", kept.bitmask),
                ("row offsets", bytemuck::cast_slice(&kept.row_offsets).to_vec()),
                ("decoded", words_bytes(&decoded)),
            ];
            Ok(Output { parts })
        }),
        reference: None,
    }
}

pub(super) fn bitmask_codes_cases() -> Vec<Case> {
    let mut cases = vec![];
    for bits in [Bits::Two, Bits::Four, Bits::Eight] {
        let asymmetric =
            |granularity| QuantScheme { symmetric: false, ..scheme(bits, granularity) };
        let schemes = [
            scheme(bits, Granularity::Channel),
            asymmetric(Granularity::Tensor),
            asymmetric(Granularity::Channel),
            asymmetric(Granularity::Group(5)),
        ];
        for (number, scheme) in schemes.into_iter().enumerate() {
            for (i, shape) in SHAPES.into_iter().enumerate() {
                let share = [0.0, 0.5, 0.9, 1.0][(i + number) % 4];
                let lead = (i * 3 + number) % scheme.codes_per_word();
                cases.push(bitmask_codes_case(shape, scheme, share, lead));
            }
        }
    }
    cases
}
