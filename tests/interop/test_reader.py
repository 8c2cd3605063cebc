"""The reader on vaults of the tiny writer, with one fault each."""

import base64
import io
import tempfile
from pathlib import Path

import kluis_reader as k
import tiny_writer as w
from harness import pattern, refuses, test

VAULT_ID, COLLECTION, CK = bytes(16), bytes(range(16)), bytes(32)
PATH = ("photos", "été.jpg")


def open_object(data, path=PATH, suite=1, keys=((0, 0, 0, CK),), ledger=5, vault_id=VAULT_ID, outside=None):
    return k.Object(io.BytesIO(data), vault_id, suite, COLLECTION, keys, ledger, path, outside)


def seal(plain, **args):
    return w.seal_object(CK, PATH, VAULT_ID, COLLECTION, plain, **args)[0]


def primitives():
    with test("small-order points"):
        p, d = k.P25519, -121665 * pow(121666, -1, k.P25519)
        for y in k.SMALL_ORDER:  # 8·P is the neutral element; in affine coordinates, by doubling
            x2 = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
            for _ in range(3):
                denominator = d * x2 * y * y
                x2, y = (4 * x2 * y * y * pow(1 + denominator, -2, p) % p,
                         (y * y + x2) * pow(1 - denominator, -1, p) % p)
            assert (x2, y) == (0, 1)
    with test("rfc 5869 test case 1, expand"):
        prk = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")
        okm = k.expand(prk, bytes(range(0xF0, 0xFA)), 42)
        assert okm.hex().startswith("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    with test("cbor"):
        for x in (0, 23, 24, 255, 256, 65535, 65536, 2**32, 2**64 - 1, b"", b"x" * 300, "é", [], [1, [b"a", "b"]]):
            assert k.cbor_decode(k.cbor_encode(x)) == x
    for bad in ("", "1800", "190001", "1a00000001", "1b0000000000000001", "20", "a0", "c000", "f4", "f90000", "5f", "9f",
                "4101ff", "4201", "61ff", "8101" + "00", "9bffffffffffffffff", "5bffffffffffffffff", "81" * 40 + "00", "1c"):
        with test(f"cbor {bad[:20]}"), refuses(k.Tampered):
            k.cbor_decode(bytes.fromhex(bad))
    with test("lengths"):
        for suite in (1, 2):
            ranges = (range(0, 100), range(16380, 16390), range(16384 * 256 - 9, 16384 * 256 + 9))
            good = {k.stored_length(suite, n): n for r in ranges for n in r}
            for stored in {s + delta for s in good for delta in (-97, -33, -16, -1, 0, 1, 16, 32, 48)}:
                try:
                    assert k.stored_length(suite, k.plain_length(suite, stored)) == stored
                except k.Tampered:
                    assert stored not in good
    with test("padme"):
        assert [k.padme(n) for n in (0, 1, 2, 8, 9, 100, 16385)] == [0, 1, 2, 8, 10, 104, 17408]


def names():
    for segment in ("a", "x" * 15, "x" * 16, "n" * 127, "é" * 63, "n" * 128, "n" * 1023):
        with test(f"name of {len(segment.encode())} bytes"):
            stored, full = k.seal_segment(CK, segment)
            assert k.open_segment(CK, stored, full) == segment and len(stored) <= 231
            assert (full is None) == (len(segment.encode()) <= 127)
            assert k.open_segment(bytes([1] * 32), stored, full) is None
            assert k.open_segment(CK, stored.upper(), full) is None
            assert k.open_segment(CK, stored + "0", full) is None
    for segment in ("", ".", "..", "a/b", "a\0", "\x7f", "\x85", "n" * 1024, "\udcff"):
        with test(f"name {segment[:9]!r} is refused"), refuses(k.InvalidInput):
            k.seal_segment(CK, segment)


def objects():
    for size in (0, 1, 16383, 16384, 16385, 50000):
        for padded in (None, "known", "stream"):
            with test(f"object of {size} bytes, padded {padded}"):
                plain = pattern(size)
                obj = open_object(seal(plain, padded=padded, mtime=(-1, 999_999_999), attributes=k.cbor_encode(["meta:a", "b"])))
                assert b"".join(obj.stream()) == plain and obj.length == size
                assert obj.mtime == (-1, 999_999_999) and obj.attributes == [("meta:a", "b")]
                for a, b in ((0, 1), (16383, 16385), (size - 5, size), (3, 40000)):
                    a = max(a, 0)
                    assert obj.range(a, b) == plain[a:b]
    for padded in (None, "known", "stream"):
        data = seal(pattern(16385), padded=padded)
        with test(f"flips in an object, padded {padded}"):
            for at in [*range(256), 256, 16639, 16640, 16655, 16656, len(data) - 17, len(data) - 1]:
                bad = bytearray(data)
                bad[at] ^= 1
                try:
                    b"".join(open_object(bytes(bad)).stream())
                    raise AssertionError(f"a flip at {at} passed")
                except (k.Tampered, k.UnsupportedFormat) as e:
                    # a suite 0, another magic number, or bytes that are zero in version 1
                    assert type(e) in ((k.UnsupportedFormat,) if at in (3, 4, 6, 7) else (k.Tampered, k.Stale)), (at, e)
    data = seal(pattern(40000))
    for name, bad in {
        "cut to nothing": b"", "cut to the header": data[:256], "cut at a chunk border": data[:256 + 16400],
        "cut in the last chunk": data[:-1], "extended": data + b"\0", "extended by a chunk": data + bytes(16400),
        "chunks swapped": data[:256] + data[16656:33056] + data[256:16656] + data[33056:],
    }.items():
        with test(name), refuses(k.Tampered):
            b"".join(open_object(bad).stream())
    for name, args in {"wrong path": {"path": ("photos", "b")}, "wrong vault": {"vault_id": bytes([1] * 16)},
                       "wrong suite": {"suite": 2}, "no epoch": {"keys": ()}, "closed epoch": {"keys": ((0, 0, 0, CK), (1, 0, 0, COLLECTION * 2))},
                       "no key fits": {"keys": ((0, 0, 1, COLLECTION * 2),)}}.items():
        with test(name), refuses(k.Tampered):
            open_object(data, **args)
    with test("two keys of an epoch"):
        open_object(data, keys=((0, 0, 1, COLLECTION * 2), (0, 0, 0, CK)))
    with test("an orphan closes nothing"):
        open_object(data, keys=((0, 0, 0, CK), (1, 0, 1, COLLECTION * 2)))
    with test("stale"), refuses(k.Stale):
        open_object(seal(b"", stamp=6))
    with test("attributes outside"):
        attributes = k.cbor_encode(["content-type", "x" * 100])
        data, outside = w.seal_object(CK, PATH, VAULT_ID, COLLECTION, b"abc", outside=attributes)
        assert open_object(data, outside=outside).attributes == [("content-type", "x" * 100)]
        for bad in (None, outside[:-1], outside + b"\0"):
            with refuses(k.Tampered):
                open_object(data, outside=bad)


def vaults():
    phrase = k.Mnemonic("english").to_mnemonic(bytes(range(32)))
    credentials = [k.Credential.password("pa\u0308ss wo\u00a0rd".encode()), k.Credential.password(b"p", bytes(32)), k.Credential.phrase(phrase)]
    files = {"a": b"", "photos/été.jpg": pattern(20000), "l" * 200 + "/" + "m" * 300 + "/x": pattern(5)}
    vault = w.TinyVault(credentials)
    for path, plain in files.items():
        vault.put(path, plain, mtime=(1234567890, 5))
    for _ in range(70):
        vault.append([])
    vault.write_header()
    with tempfile.TemporaryDirectory() as temporary:
        temporary = Path(temporary)
        vault.save(temporary / "vault")
        for credential in (*credentials, k.Credential.password("pässwo rd".replace("wo", " wo").encode())):
            with test(f"vault by slot kind {credential.kind}"):
                opened = k.Vault(temporary / "vault", credential)
                assert {"/".join(p) for p, _ in opened.walk()} == set(files) and not opened.foreign
                assert opened.header.sequence == 1 and opened.ledger.last.sequence == 70 and len(opened.ledger.entries) == 7
                for path, plain in files.items():
                    obj = opened.open(tuple(path.split("/")))
                    with obj.source:
                        assert b"".join(obj.stream()) == plain and obj.mtime == (1234567890, 5)
        with test("wrong password"), refuses(k.WrongCredentials):
            k.Vault(temporary / "vault", k.Credential.password(b"q"))
    header = vault.files["kluis.vault"]
    with test("flips in the header"):
        for at in range(len(header)):
            bad = bytearray(header)
            bad[at] ^= 1
            try:
                k.Header(bytes(bad))
                raise AssertionError(f"a flip at {at} passed")
            except (k.Tampered, k.UnsupportedFormat, k.LimitExceeded):
                pass
    kit = b"KLK1" + k.cbor_encode([header, [e for _, e in vault.entries[64:]]])
    coded = base64.b64encode(kit).decode()
    lines = ["For people.", "-----BEGIN KLUIS RECOVERY KIT-----", *(coded[i:i + 64] for i in range(0, len(coded), 64)),
             "-----END KLUIS RECOVERY KIT-----", ""]
    with test("kit"):
        assert k.read_kit("\n".join(lines)) == (header, [e for _, e in vault.entries[64:]])
    with test("kit with a line less"), refuses(k.Tampered):
        k.read_kit("\n".join(lines[:2] + lines[3:]))


def run():
    primitives()
    names()
    objects()
    vaults()
