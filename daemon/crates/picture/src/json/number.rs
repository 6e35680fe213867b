//! JSON numbers from bytes, eight digits at a time.
//!
//! It gives exactly the value that serde_json's parser gives, or none, for a number that it leaves to
//! that one.

/// The powers of ten that a number's digits are multiplied or divided by. All but the last ten are exact.
#[rustfmt::skip]
const POWERS: [f64; 33] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22, 1e23, 1e24, 1e25, 1e26, 1e27, 1e28, 1e29, 1e30, 1e31, 1e32,
];
/// One in each byte.
const ONES: u64 = 0x0101_0101_0101_0101;

/// A number, and what is behind it.
pub struct Number<'a> {
    pub value: f64,
    /// Whether it was written without a fraction and an exponent.
    pub plain: bool,
    pub rest: &'a [u8],
}

impl<'a> Number<'a> {
    /// Reads the number that `text` begins with. None if it does not, or if it has 8 digits or more before
    /// the point, more than 64 bits in all, or a large exponent.
    #[inline(always)]
    pub fn read(text: &'a [u8]) -> Option<Number<'a>> {
        match text {
            // The usual one, of which the digits behind the point alone are counted.
            [whole @ b'0'..=b'9', b'.', rest @ ..] => fraction(u64::from(whole - b'0'), rest),
            [b'-', rest @ ..] => Number::read_negative(rest),
            _ => Number::read_any(text),
        }
    }

    #[cold]
    fn read_negative(text: &'a [u8]) -> Option<Number<'a>> {
        let number = Number::read_any(text)?;
        Some(Number { value: -number.value, ..number })
    }

    #[inline(always)]
    fn read_any(text: &'a [u8]) -> Option<Number<'a>> {
        let (whole, count) = digits(text);
        if count == 0 || count == 8 || (count > 1 && text[0] == b'0') {
            return None;
        }
        match &text[count..] {
            [b'.', rest @ ..] => fraction(whole, rest),
            [b'e' | b'E', rest @ ..] => exponent(whole, 0, rest),
            rest => Some(Number { value: whole as f64, plain: true, rest }),
        }
    }
}

/// Ends a number that has a point: `text` is what is behind it.
#[inline(always)]
fn fraction(whole: u64, text: &[u8]) -> Option<Number<'_>> {
    let (mut all, mut places, mut rest) = (whole, 0, text);
    loop {
        let (part, count) = digits(rest);
        all = all.checked_mul(WHOLE_POWERS[count])?.checked_add(part)?;
        places += count;
        rest = &rest[count..];
        if count < 8 {
            break;
        }
    }
    if places == 0 {
        return None;
    }
    if let [b'e' | b'E', rest @ ..] = rest {
        return exponent(all, places, rest);
    }
    Some(Number { value: all as f64 / *POWERS.get(places)?, plain: false, rest })
}

/// Ends a number that has an exponent: `text` is behind its `e`, `places` digits are behind the point.
#[cold]
fn exponent(all: u64, places: usize, text: &[u8]) -> Option<Number<'_>> {
    let (negative, text) = match text {
        [b'-', text @ ..] => (true, text),
        [b'+', text @ ..] => (false, text),
        text => (false, text),
    };
    let (power, count) = digits(text);
    if count == 0 || count == 8 {
        return None;
    }
    let power = if negative { -(power as i64) } else { power as i64 } - places as i64;
    let factor = *POWERS.get(power.unsigned_abs() as usize)?;
    let value = if power < 0 { all as f64 / factor } else { all as f64 * factor };
    Some(Number { value, plain: false, rest: &text[count..] })
}

/// What digits are multiplied by when up to eight follow.
const WHOLE_POWERS: [u64; 9] =
    [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Returns the number that up to eight leading digits are, and how many they are.
#[inline(always)]
fn digits(text: &[u8]) -> (u64, usize) {
    let bytes = match text.first_chunk::<8>() {
        Some(bytes) => *bytes,
        None => padded(text),
    };
    // A digit's byte becomes 0 to 9. Adding 0x76 carries into the top bit from 10 on, and never beyond.
    let values = u64::from_le_bytes(bytes) ^ (ONES * 0x30);
    let others = (((values & (ONES * 0x7f)) + ONES * 0x76) | values) & (ONES * 0x80);
    let count = others.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    // The digits move to the end, and zeros before them.
    let values = values << (64 - 8 * count);
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let low = (pairs & 0x0000_00ff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let high = ((pairs >> 16) & 0x0000_00ff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    (low.wrapping_add(high) >> 32, count)
}

/// Returns the last bytes of a body, filled up with zeros, which are no digits.
#[cold]
fn padded(text: &[u8]) -> [u8; 8] {
    std::array::from_fn(|at| text.get(at).copied().unwrap_or(0))
}
