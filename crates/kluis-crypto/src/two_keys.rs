//! Ciphertexts of ChaCha20-Poly1305 that two keys decrypt: Poly1305 is linear in a
//! block that is free, so that for two keys the tag can be made the same one. No
//! weakness of the cipher, which never claimed to commit to its key; the tests of
//! rows G01 to G05 ask that something else does, at each place where it is used.

use crate::aead::{Nonce, TAG};
use crate::message::{COMMITMENT, Place, SALT};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use std::array::from_fn;
use std::ops::{Add, Mul, Sub};

/// An element of the field of 2^130 − 5, in limbs of 26 bits.
#[derive(Clone, Copy)]
struct Element([u64; 5]);

impl Element {
    const MASK: u64 = (1 << 26) - 1;
    const ZERO: Self = Self([0; 5]);

    /// A number of at most 130 bits.
    fn of(low: u128, high: u64) -> Self {
        let limb = |at: u32| (low >> at) as u64 & Self::MASK;
        let last = (low >> 104) as u64 | high << 24;
        Self([limb(0), limb(26), limb(52), limb(78), last])
    }

    /// A block of the message, which is filled up with zeros, and the bit above it.
    fn block(bytes: &[u8]) -> Self {
        let mut block = [0; 16];
        block[..bytes.len()].copy_from_slice(bytes);
        Self::of(u128::from_le_bytes(block), 1)
    }

    fn carried(mut self) -> Self {
        for _ in 0..2 {
            for i in 0..5 {
                let carry = self.0[i] >> 26;
                self.0[i] &= Self::MASK;
                let (next, times) = if i == 4 { (0, 5) } else { (i + 1, 1) };
                self.0[next] += carry * times;
            }
        }
        self
    }

    /// The low 128 bits of the one number below 2^130 − 5, and the two above.
    fn number(self) -> (u128, u64) {
        let split = |limbs: [u64; 5]| {
            let low = (0..5)
                .rev()
                .fold(0u128, |sum, i| sum << 26 | u128::from(limbs[i]));
            (low, limbs[4] >> 24)
        };
        let (low, high) = split(self.carried().0);
        let modulus = (u128::MAX - 4, 3);
        if (high, low) < (modulus.1, modulus.0) {
            return (low, high);
        }
        (low - modulus.0, high - modulus.1)
    }

    /// The power with 2^130 − 7.
    fn inverse(self) -> Self {
        let one = (0..127).fold(Self::of(1, 0), |power, _| power * power * self);
        let shifted = (0..3).fold(one, |power, _| power * power);
        shifted * self
    }
}

impl Add for Element {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(from_fn(|i| self.0[i] + other.0[i])).carried()
    }
}

impl Sub for Element {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        // Four times the modulus, so that no limb goes below zero.
        let low = [
            ((1 << 26) - 5) * 4,
            Self::MASK * 4,
            Self::MASK * 4,
            Self::MASK * 4,
        ];
        let modulus = [low[0], low[1], low[2], low[3], Self::MASK * 4];
        Self(from_fn(|i| self.0[i] + modulus[i] - other.0[i])).carried()
    }
}

impl Mul for Element {
    type Output = Self;
    fn mul(self, other: Self) -> Self {
        let mut sums = [0u128; 5];
        for (i, a) in self.0.iter().enumerate() {
            for (j, b) in other.0.iter().enumerate() {
                let times = if i + j >= 5 { 5 } else { 1 };
                sums[(i + j) % 5] += u128::from(*a) * u128::from(*b) * times;
            }
        }
        let mut carry = 0;
        let mut limbs = [0; 5];
        for (limb, sum) in limbs.iter_mut().zip(sums) {
            let sum = sum + carry;
            *limb = sum as u64 & Self::MASK;
            carry = sum >> 26;
        }
        // Below 2^36 times five.
        limbs[0] += carry as u64 * 5;
        Self(limbs).carried()
    }
}

/// All that one call of the cipher takes beside the ciphertext.
pub(crate) struct Way {
    pub(crate) key: [u8; 32],
    pub(crate) nonce: Nonce,
    pub(crate) aad: Vec<u8>,
}

impl Way {
    /// With the zero nonce and no additional data.
    pub(crate) fn plain(key: [u8; 32]) -> Self {
        Self {
            key,
            nonce: [0; 12],
            aad: Vec::new(),
        }
    }

    /// The first chunk of a message, and the commitment of it.
    pub(crate) fn message(
        key: &[u8; 32],
        salt: &[u8; SALT],
        context: &[&[u8]],
    ) -> (Self, [u8; COMMITMENT]) {
        let name = &b"c2sp.org/chunked-encryption@v1+AEAD_CHACHA20_POLY1305\0"[..];
        let info = [&[name, salt][..], context].concat();
        let mut okm = [0; 76];
        crate::kdf::expand(key, &info, &mut okm);
        let way = Self {
            key: okm[..32].try_into().unwrap(),
            nonce: okm[32..44].try_into().unwrap(),
            aad: Vec::new(),
        };
        (way, okm[44..].try_into().unwrap())
    }

    /// The first bytes of what the cipher adds to the content, behind its first block.
    pub(crate) fn stream(&self, length: usize) -> Vec<u8> {
        let mut stream = vec![0; 64 + length];
        ChaCha20::new(&self.key.into(), &self.nonce.into()).apply_keystream(&mut stream);
        stream.split_off(64)
    }

    /// Both halves of the key of the tag.
    fn one_time(&self) -> (Element, u128) {
        let mut key = [0; 32];
        ChaCha20::new(&self.key.into(), &self.nonce.into()).apply_keystream(&mut key);
        let (r, s) = key.split_at(16);
        let clamp = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let r = u128::from_le_bytes(r.try_into().unwrap()) & clamp;
        (
            Element::of(r, 0),
            u128::from_le_bytes(s.try_into().unwrap()),
        )
    }

    /// The sum of all blocks, before the second half of the key is added, and the power
    /// that the block at `free` in the ciphertext is multiplied with.
    fn sum(&self, r: Element, sealed: &[u8], free: usize) -> (Element, Element) {
        let lengths = [self.aad.len() as u64, sealed.len() as u64].map(u64::to_le_bytes);
        let (mut sum, mut power) = (Element::ZERO, Element::of(1, 0));
        for block in self.aad.chunks(16) {
            sum = (sum + Element::block(block)) * r;
        }
        for (index, block) in sealed.chunks(16).enumerate() {
            sum = (sum + Element::block(block)) * r;
            if index >= free {
                power = power * r;
            }
        }
        let last = (sum + Element::block(&lengths.concat())) * r;
        (last, power * r)
    }
}

/// A ciphertext with its tag that opens in both ways. It is `sealed` but for its last two
/// whole blocks: one that makes it random, and one that is solved for.
pub(crate) fn two_keys(ways: [&Way; 2], mut sealed: Vec<u8>) -> Vec<u8> {
    let free = sealed.len() / 16 - 1;
    let at = 16 * free;
    let [(r, s), (q, t)] = ways.map(Way::one_time);
    for filler in 0u64.. {
        sealed[at - 8..at].copy_from_slice(&filler.to_le_bytes());
        sealed[at..at + 16].fill(0);
        let (a, x) = ways[0].sum(r, &sealed, free);
        let (b, y) = ways[1].sum(q, &sealed, free);
        // a + c·x + s and b + c·y + t have to agree modulo 2^128.
        let slope = (x - y).inverse();
        for multiple in -4i64..=4 {
            let beyond = Element::of(0, 1) * Element::of(multiple.unsigned_abs().into(), 0);
            let constant = b - a + Element::of(t, 0) - Element::of(s, 0);
            let constant = if multiple < 0 {
                constant - beyond
            } else {
                constant + beyond
            };
            let (c, above) = (constant * slope).number();
            if above > 0 {
                continue;
            }
            sealed[at..at + 16].copy_from_slice(&c.to_le_bytes());
            let tag = ways[0].sum(r, &sealed, free).0.number().0.wrapping_add(s);
            if ways[1].sum(q, &sealed, free).0.number().0.wrapping_add(t) == tag {
                sealed.extend_from_slice(&tag.to_le_bytes());
                return sealed;
            }
        }
    }
    unreachable!("one filler in two or three does")
}

/// Records of one place that commit to the first and to the second key, with one body
/// that both decrypt.
pub(crate) fn records(
    keys: [&[u8; 32]; 2],
    place: &Place<'_>,
    salt: [u8; SALT],
    length: usize,
) -> [Vec<u8>; 2] {
    let made = keys.map(|key| place.with_context(|context| Way::message(key, &salt, context)));
    let body = two_keys([&made[0].0, &made[1].0], vec![0; length]);
    assert_eq!(body.len(), length + TAG);
    made.map(|(_, commitment)| [&salt[..], &commitment, &body].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aead::Aead;

    fn opened(way: &Way, sealed: &[u8]) -> Option<Vec<u8>> {
        let (text, tag) = sealed.split_last_chunk().unwrap();
        let mut out = vec![0; text.len()];
        let opened = Aead::new(&way.key).open(&way.nonce, &way.aad, text, tag, &mut out);
        opened.ok().map(|()| out)
    }

    /// One that somebody else made.
    const PUBLISHED: &str = "516614f1af1e5f8141db58bd9e847b72b9ca362f9c48248f7fa68a37ae16d004d8d3b8901580ef877a1801f2ca0ede80af271e68060c8dc1b73c8ff54dc17ab89e862c71825f894f069f518f12350296340d2925824572405434b443394a22be4c13c690e4d0731945b8a5c9a8e7591d";

    #[test]
    fn g01_the_cipher_alone_takes_two_keys() {
        let ways = [[1; 32], [2; 32]].map(Way::plain);
        let published = data_encoding::HEXLOWER
            .decode(PUBLISHED.as_bytes())
            .unwrap();
        let wanted = [&b"PAY ALICE 100   "[..], b"PAY MALLORY 9999"].map(|text| text.repeat(2));
        for (i, way) in ways.iter().enumerate() {
            let text = opened(way, &published).unwrap();
            assert_eq!(text[32 * i..32 * (i + 1)], wanted[i]);
        }
        // The same two contents, by the generator.
        let mut sealed = vec![0; 96];
        for (i, way) in ways.iter().enumerate() {
            let stream = way.stream(64);
            for at in 0..32 {
                sealed[32 * i + at] = stream[32 * i + at] ^ wanted[i][at];
            }
        }
        let sealed = two_keys([&ways[0], &ways[1]], sealed);
        for (i, way) in ways.iter().enumerate() {
            assert_eq!(
                opened(way, &sealed).unwrap()[32 * i..32 * (i + 1)],
                wanted[i]
            );
        }
        assert_eq!(opened(&Way::plain([3; 32]), &sealed), None);
        // Of any length, with nonces and additional data of their own.
        for n in 0..1_000u32 {
            let way = |of: u8| {
                let key = [&n.to_le_bytes()[..], &[of; 28]].concat();
                Way {
                    key: key.try_into().unwrap(),
                    nonce: [of ^ n as u8; 12],
                    aad: vec![of; n as usize % 67],
                }
            };
            let ways = [way(1), way(2)];
            let length = 32 + n as usize % 300;
            let sealed = two_keys([&ways[0], &ways[1]], vec![n as u8; length]);
            let texts = ways.each_ref().map(|way| opened(way, &sealed).unwrap());
            assert_ne!(texts[0], texts[1]);
        }
    }
}
