//! Keys of the maps of texts and addresses, and the sizes that a plan's tables need. Pure.

use trilobite_node_ebpf::{PREFIX_BYTES, PrefixKey, STRING_KEY_BYTES, StringKey};

use crate::plan::policy::dimension::Network;

const HASH_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const HASH_PRIME: u64 = 0x0100_0000_01b3;

/// Key of an exact text: the text, or the hash of a long one.
pub(in crate::layers::security) fn string_key(dimension: u8, text: &[u8]) -> StringKey {
    let mut key = StringKey { dimension, hashed: 0, length: text.len() as u16, text: [0; STRING_KEY_BYTES as usize] };
    if text.len() > key.text.len() {
        key.hashed = 1;
        key.text[..8].copy_from_slice(&hash(text).to_ne_bytes());
    } else {
        key.text[..text.len()].copy_from_slice(text);
    }
    key
}

/// FNV-1a.
fn hash(text: &[u8]) -> u64 {
    text.iter().fold(HASH_BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(HASH_PRIME))
}

/// Key of a prefix; of a suffix, which the caller has reversed.
pub(in crate::layers::security) fn prefix_key(dimension: u8, text: &[u8]) -> PrefixKey {
    let mut key = PrefixKey { bits: 8, dimension, text: [0; PREFIX_BYTES as usize] };
    let bytes = text.len().min(key.text.len());
    key.bits += 8 * bytes as u32;
    key.text[..bytes].copy_from_slice(&text[..bytes]);
    key
}

/// Key of a network: its family, then the address.
pub(super) fn network_key(dimension: u8, network: &Network) -> PrefixKey {
    let mut key = prefix_key(dimension, &[network.family]);
    key.bits += u32::from(network.bits);
    key.text[1..=network.address.len()].copy_from_slice(&network.address);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_its_hash() {
        let long = vec![b'a'; 61];
        assert_eq!(string_key(3, b"/bin/sh").text[..8], *b"/bin/sh\0");
        let key = string_key(3, &long);
        assert_eq!((key.hashed, key.length, key.text[8..].iter().any(|byte| *byte != 0)), (1, 61, false));
        assert_eq!(hash(b"a"), 0xaf63_dc4c_8601_ec8c);
    }

    #[test]
    fn ipv4_network_has_its_bits_behind_the_family() {
        let network = Network { family: 4, address: [10; 16], bits: 8 };
        let key = network_key(1, &network);
        assert_eq!((key.bits, key.text[0], key.text[1]), (24, 4, 10));
    }
}
