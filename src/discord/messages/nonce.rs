//! Nonces, by which Discord posts a message once even if it is sent again within some minutes.

/// A nonce of 25 characters, Discord's maximum. It depends only on `parts` and must not change
/// with an update of the bot, or a retry after the update would post twice.
pub(in crate::discord) fn nonce(parts: &[&str]) -> String {
    // The upper 96 bits of the 128-bit FNV-1a hash.
    const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mixed = |hash: u128, byte: u8| (hash ^ u128::from(byte)).wrapping_mul(PRIME);
    let whole = parts.join("\0");
    let hash = whole.bytes().fold(BASIS, mixed);
    format!("n{:024x}", hash >> 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_fits_and_tells_texts_apart() {
        // The published vector of FNV-1a for "a", cut to 96 bits.
        assert_eq!(nonce(&["a"]), "nd228cb696f1a8caf78912b70");
        assert_eq!(nonce(&["a", "b"]).len(), 25);
        assert_ne!(nonce(&["a", "b"]), nonce(&["ab"]));
    }
}
