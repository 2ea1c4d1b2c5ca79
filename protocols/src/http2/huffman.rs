//! The Huffman code of HPACK (RFC 7541, appendix B): decoded, and overwritten without a change of length.

use std::ops::Range;

const SYMBOLS: usize = 257;
const END_OF_STRING: u16 = 256;
const SHORTEST: usize = 5;
const LONGEST: usize = 30;

/// Bits of the code of each byte, and of the end. Codes of a length are in the order of their symbols.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28,
    28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15,
    6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22,
    20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23,
    23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22,
    22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26,
    27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27,
    26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The symbols of each length, and the codes that they have.
struct Codes {
    /// By length, then by symbol.
    symbols: [u16; SYMBOLS],
    /// Code of the first symbol of a length.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    /// Number of the first symbol of a length in `symbols`.
    offset: [usize; LONGEST + 1],
}

const CODES: Codes = codes();

const fn codes() -> Codes {
    let mut codes =
        Codes { symbols: [0; SYMBOLS], first: [0; LONGEST + 1], count: [0; LONGEST + 1], offset: [0; LONGEST + 1] };
    let (mut length, mut next, mut code) = (0, 0, 0);
    while length <= LONGEST {
        code <<= 1;
        codes.first[length] = code;
        codes.offset[length] = next;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                codes.symbols[next] = symbol as u16;
                codes.count[length] += 1;
                next += 1;
                code += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    codes
}

/// The bytes are no string of this code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Invalid;

/// Decodes a string; its symbols go to `symbol` one by one.
pub(super) fn decode(bytes: &[u8], mut symbol: impl FnMut(u8)) -> Result<(), Invalid> {
    let (mut bits, mut held) = (0u64, 0usize);
    let mut rest = bytes.iter();
    loop {
        while held <= 32 {
            let Some(byte) = rest.next() else { break };
            bits = bits << 8 | u64::from(*byte);
            held += 8;
        }
        let Some((decoded, length)) = first_symbol(bits, held) else {
            // The rest is the beginning of the end's code: ones, less than a byte of them.
            let padding = bits & ((1 << held) - 1);
            return if held < 8 && padding == (1 << held) - 1 { Ok(()) } else { Err(Invalid) };
        };
        if decoded == END_OF_STRING {
            return Err(Invalid);
        }
        symbol(decoded.to_le_bytes()[0]);
        held -= length;
        bits &= (1 << held) - 1;
    }
}

/// The symbol that the newest `held` bits begin with, and the bits of its code; none: it is not whole.
fn first_symbol(bits: u64, held: usize) -> Option<(u16, usize)> {
    (SHORTEST..=LONGEST.min(held)).find_map(|length| {
        let code = u32::try_from(bits >> (held - length)).ok()?;
        let number = code.checked_sub(*CODES.first.get(length)?)?;
        if number >= *CODES.count.get(length)? {
            return None;
        }
        let symbol = CODES.symbols.get(CODES.offset.get(length)? + usize::try_from(number).ok()?)?;
        Some((*symbol, length))
    })
}

fn length(symbol: u8) -> usize {
    LENGTHS.get(usize::from(symbol)).copied().map_or(LONGEST, usize::from)
}

/// Overwrites the symbols of a string in these ranges: it keeps its bytes, the number of its symbols, and the other symbols.
/// Which code lengths the overwritten ones had is not kept.
pub(super) fn mask(bytes: &mut [u8], hidden: &[Range<usize>]) {
    let mut symbols = Vec::new();
    if decode(bytes, |symbol| symbols.push(symbol)).is_err() {
        return bytes.fill(0);
    }
    let is_hidden = |at: usize| hidden.iter().any(|range| range.contains(&at));
    let mut left = (0..symbols.len()).filter(|at| is_hidden(*at)).count();
    let shown: usize =
        symbols.iter().enumerate().filter(|(at, _)| !is_hidden(*at)).map(|(_, byte)| length(*byte)).sum();
    // The original code and its padding have as many bits: so the hidden symbols have room for the shortest code each.
    let mut extra = (bytes.len() * 8).saturating_sub(shown + left * SHORTEST);
    for (at, symbol) in symbols.iter_mut().enumerate() {
        if is_hidden(at) {
            let share = extra.div_ceil(left.max(1));
            let wanted = (share..=LONGEST - SHORTEST).find(|more| *more <= extra && filler(SHORTEST + more).is_some());
            let most = || (0..=extra.min(LONGEST - SHORTEST)).rev().find(|more| filler(SHORTEST + more).is_some());
            let more = wanted.or_else(most).unwrap_or_default();
            *symbol = filler(SHORTEST + more).unwrap_or(b'0');
            extra -= more.min(extra);
            left -= 1;
        }
    }
    encode(&symbols, bytes);
}

/// A byte whose code has this length; a letter or a digit where there is one.
fn filler(length: usize) -> Option<u8> {
    match length {
        5 => Some(b'0'),
        6 => Some(b'3'),
        7 => Some(b'x'),
        8 => Some(b'X'),
        _ if *CODES.count.get(length)? == 0 => None,
        _ => CODES.symbols.get(*CODES.offset.get(length)?).and_then(|symbol| u8::try_from(*symbol).ok()),
    }
}

/// Writes the codes of the symbols, and ones behind them.
fn encode(symbols: &[u8], out: &mut [u8]) {
    let mut places = out.iter_mut();
    let (mut bits, mut held) = (0u64, 0);
    for symbol in symbols {
        let length = length(*symbol);
        bits = bits << length | u64::from(code(*symbol));
        held += length;
        while held >= 8 {
            held -= 8;
            if let Some(place) = places.next() {
                *place = (bits >> held).to_le_bytes()[0];
            }
            bits &= (1 << held) - 1;
        }
    }
    if let Some(place) = places.next().filter(|_| held > 0) {
        *place = (bits << (8 - held) | 0xff >> held).to_le_bytes()[0];
    }
}

fn code(symbol: u8) -> u32 {
    let length = length(symbol);
    let first = CODES.offset.get(length).copied().unwrap_or_default();
    let of_length = CODES.symbols.get(first..).unwrap_or_default();
    let number = of_length.iter().position(|other| *other == u16::from(symbol)).unwrap_or_default();
    CODES.first.get(length).copied().unwrap_or_default() + u32::try_from(number).unwrap_or_default()
}

#[cfg(test)]
pub(super) fn encoded(text: &[u8]) -> Vec<u8> {
    let bits: usize = text.iter().map(|byte| length(*byte)).sum();
    let mut out = vec![0; bits.div_ceil(8)];
    encode(text, &mut out);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut symbols = Vec::new();
        decode(bytes, |symbol| symbols.push(symbol)).map(|()| symbols)
    }

    /// RFC 7541, C.4.1 and C.6.1.
    #[test]
    fn examples_of_the_rfc_are_decoded() {
        let host = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&host), Ok(b"www.example.com".to_vec()));
        assert_eq!(decoded(&[0x64, 0x02]), Ok(b"302".to_vec()));
        assert_eq!(decoded(&[0xae, 0xc3, 0x77, 0x1a, 0x4b]), Ok(b"private".to_vec()));
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn padding_that_is_none_and_the_end_are_refused() {
        assert_eq!(decoded(&[0xff]), Err(Invalid), "a whole byte of padding");
        assert_eq!(decoded(&[0x64]), Err(Invalid), "zeros behind the last symbol");
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Invalid), "the end's own code");
    }

    proptest! {
        #[test]
        fn every_string_comes_back(text: Vec<u8>) {
            prop_assert_eq!(decoded(&encoded(&text)), Ok(text));
        }

        #[test]
        fn masks_keep_lengths_and_what_is_shown(text in "[ -~]{1,60}", from in 0usize..60, length in 0usize..60) {
            let mut bytes = encoded(text.as_bytes());
            let hidden = from.min(text.len())..(from + length).min(text.len());
            mask(&mut bytes, std::slice::from_ref(&hidden));
            let masked = decoded(&bytes).unwrap();
            prop_assert_eq!(bytes.len(), encoded(text.as_bytes()).len());
            prop_assert_eq!(masked.len(), text.len());
            prop_assert_eq!(&masked[..hidden.start], &text.as_bytes()[..hidden.start]);
            prop_assert_eq!(&masked[hidden.end..], &text.as_bytes()[hidden.end..]);
            if hidden.len() > 3 {
                prop_assert!(masked[hidden.clone()] != text.as_bytes()[hidden] || text.contains("0000"));
            }
        }

        #[test]
        fn any_string_can_be_masked(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let mut bytes = encoded(&text);
            let whole = 0..text.len();
            mask(&mut bytes, std::slice::from_ref(&whole));
            prop_assert_eq!(decoded(&bytes).map(|masked| masked.len()), Ok(text.len()));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let _ = decoded(&bytes);
        }
    }
}
