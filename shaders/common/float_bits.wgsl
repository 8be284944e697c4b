// Exact float arithmetic on bits. WGSL lets a device round a division by 2.5 ULP, flush subnormals
// and round pack2x16float either way; integers are the same everywhere.

// 0 = f32, 1 = f16, 2 = bf16
override DTYPE: u32 = 0u;

const MAGNITUDE: u32 = 0x7fffffffu;
const INFINITY: u32 = 0x7f800000u;

// The f32 bits of equal value. NaNs become quiet, as a hardware conversion makes them.
fn f16_to_f32_bits(h: u32) -> u32 {
    let sign = (h & 0x8000u) << 16u;
    let exponent = (h >> 10u) & 0x1fu;
    let mantissa = h & 0x3ffu;
    if exponent == 0x1fu {
        return sign | INFINITY | (mantissa << 13u) | select(0u, 0x00400000u, mantissa != 0u);
    }
    if exponent != 0u {
        return sign | ((exponent + 112u) << 23u) | (mantissa << 13u);
    }
    if mantissa == 0u {
        return sign;
    }
    let shift = countLeadingZeros(mantissa) - 21u;
    return sign | ((113u - shift) << 23u) | (((mantissa << shift) & 0x3ffu) << 13u);
}

// Element bits (32 or 16 of them) of the stored type to f32 bits.
fn widen(bits: u32) -> u32 {
    switch DTYPE {
        case 1u: { return f16_to_f32_bits(bits); }
        case 2u: { return bits << 16u; }
        default: { return bits; }
    }
}

// f32 bits (no NaN) rounded half to even to f16 bits.
fn f32_to_f16_bits(bits: u32) -> u32 {
    let sign = (bits >> 16u) & 0x8000u;
    let magnitude = bits & MAGNITUDE;
    if magnitude >= 0x47800000u { // 65536 and more
        return sign | 0x7c00u;
    }
    if magnitude >= 0x38800000u { // normal in f16; a carry may still reach infinity
        let rebased = magnitude - 0x38000000u;
        return sign | ((rebased + 0xfffu + ((rebased >> 13u) & 1u)) >> 13u);
    }
    if magnitude < 0x33000000u { // below half the smallest subnormal
        return sign;
    }
    let mantissa = (magnitude & 0x7fffffu) | 0x800000u;
    let shift = 126u - (magnitude >> 23u);
    let kept = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    let up = rest > half || (rest == half && (kept & 1u) == 1u);
    return sign | (kept + select(0u, 1u, up));
}

// f32 bits (no NaN) rounded half to even to the stored type's bits.
fn narrow(bits: u32) -> u32 {
    switch DTYPE {
        case 1u: { return f32_to_f16_bits(bits); }
        case 2u: { return (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u; }
        default: { return bits; }
    }
}

// f32 bits (no NaN) rounded to the stored type and widened again.
fn round_to_type(bits: u32) -> u32 {
    if DTYPE == 0u {
        return bits;
    }
    return widen(narrow(bits));
}

struct Unpacked {
    // biased exponent of a normal number; 0 and below for subnormal ones
    exponent: i32,
    // 24 bits, the highest one set
    mantissa: u32,
}

// A finite, non-zero magnitude.
fn unpack_magnitude(bits: u32) -> Unpacked {
    let exponent = i32(bits >> 23u);
    let mantissa = bits & 0x7fffffu;
    if exponent != 0 {
        return Unpacked(exponent, mantissa | 0x800000u);
    }
    let shift = countLeadingZeros(mantissa) - 8u;
    return Unpacked(1 - i32(shift), mantissa << shift);
}

// Rounds half to even: `mantissa` has 25 bits, the highest one set, worth 2^(exponent - 127);
// `sticky` tells whether anything non-zero follows it.
fn round_magnitude(mantissa: u32, sticky: bool, exponent: i32) -> u32 {
    if exponent >= 255 {
        return INFINITY;
    }
    if exponent < -24 {
        return 0u;
    }
    let subnormal = exponent < 1;
    let shift = select(1u, u32(2 - exponent), subnormal);
    let kept = mantissa >> shift;
    let rest = mantissa & ((1u << shift) - 1u);
    let half = 1u << (shift - 1u);
    let up = rest > half || (rest == half && (sticky || (kept & 1u) == 1u));
    let base = select(u32(max(exponent, 1) - 1) << 23u, 0u, subnormal);
    return min(base + kept + select(0u, 1u, up), INFINITY);
}

// a / b, correctly rounded; finite magnitudes, b not zero.
fn divide_magnitudes(a: u32, b: u32) -> u32 {
    if a == 0u {
        return 0u;
    }
    let x = unpack_magnitude(a);
    let y = unpack_magnitude(b);
    var exponent = x.exponent - y.exponent + 127;
    var rest = x.mantissa;
    if rest < y.mantissa {
        rest = rest << 1u;
        exponent = exponent - 1;
    }
    // One integer bit and three steps of eight bits: each dividend stays below 2^32.
    rest = (rest - y.mantissa) << 8u;
    var quotient = (1u << 8u) | (rest / y.mantissa);
    rest = (rest % y.mantissa) << 8u;
    quotient = (quotient << 8u) | (rest / y.mantissa);
    rest = (rest % y.mantissa) << 8u;
    quotient = (quotient << 8u) | (rest / y.mantissa);
    rest = rest % y.mantissa;
    return round_magnitude(quotient, rest != 0u, exponent);
}

// a + b, correctly rounded; finite magnitudes.
fn add_magnitudes(a: u32, b: u32) -> u32 {
    let high = max(a, b);
    let low = min(a, b);
    if low == 0u {
        return high;
    }
    let x = unpack_magnitude(high);
    let y = unpack_magnitude(low);
    // Six guard bits, and one bit of head room for the carry.
    let distance = u32(x.exponent - y.exponent);
    var aligned = 0u;
    var sticky = true;
    if distance < 31u {
        let widened = y.mantissa << 6u;
        aligned = widened >> distance;
        sticky = (aligned << distance) != widened;
    }
    var sum = (x.mantissa << 6u) + aligned;
    var exponent = x.exponent;
    if sum >= (1u << 30u) {
        sticky = sticky || (sum & 1u) == 1u;
        sum = sum >> 1u;
        exponent = exponent + 1;
    }
    return round_magnitude(sum >> 5u, sticky || (sum & 31u) != 0u, exponent);
}

// factor * b, correctly rounded; factor at most 255, b a finite magnitude.
fn multiply_magnitude(factor: u32, b: u32) -> u32 {
    if factor == 0u || b == 0u {
        return 0u;
    }
    let y = unpack_magnitude(b);
    let product = factor * y.mantissa;
    let zeros = countLeadingZeros(product);
    let normal = product << zeros;
    return round_magnitude(normal >> 7u, (normal & 127u) != 0u, y.exponent - i32(zeros) + 8);
}
