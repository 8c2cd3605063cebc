/// Padmé: rounds a length up so that O(log log L) bits of it show, for at most
/// 12 % more (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
/// Communication with PURBs", PETS 2019, section 4).
///
/// Lengths above 2^63 stay; no object has them.
pub(crate) fn padme(length: u64) -> u64 {
    if !(2..=1 << 63).contains(&length) {
        return length;
    }
    let exponent = length.ilog2();
    let kept = exponent.ilog2() + 1;
    let mask = (1u64 << (exponent - kept)) - 1;
    (length + mask) & !mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_by_at_most_an_eighth_and_is_idempotent() {
        for length in
            (0..100_000).chain((0..63).flat_map(|e| [(1u64 << e) - 1, 1 << e, (1 << e) + 1]))
        {
            let padded = padme(length);
            assert!(
                padded >= length && u128::from(padded - length) * 100 <= u128::from(length) * 12,
                "{length} {padded}"
            );
            assert_eq!(padme(padded), padded);
            assert!(padme(length + 1) >= padded, "{length}");
        }
    }

    #[test]
    fn the_papers_values() {
        // Few bits of the length are left: 9 becomes 10, 1,000,001 becomes 1,015,808.
        for (length, padded) in [
            (0, 0),
            (1, 1),
            (2, 2),
            (8, 8),
            (9, 10),
            (100, 104),
            (1_000_001, 1_015_808),
        ] {
            assert_eq!(padme(length), padded);
        }
    }
}
