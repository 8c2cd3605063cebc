"""Just enough of a writer to try the reader on data of its own, before and
beside the vectors. Written from docs/FORMAT.md, as the reader is."""

import os

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import kluis_reader as k


def seal_message(input_key, salt, context, plain):
    """Commitment and chunks."""
    info = b"c2sp.org/chunked-encryption@v1+AEAD_CHACHA20_POLY1305\0" + salt + context
    out = k.expand(input_key, info, 76)
    nonce, cipher = int.from_bytes(out[32:44], "big"), ChaCha20Poly1305(out[:32])
    chunks = [cipher.encrypt((nonce ^ i).to_bytes(12, "big"), plain[at:at + k.CHUNK], None)
              for i, at in enumerate(range(0, len(plain) // k.CHUNK * k.CHUNK + 1, k.CHUNK))]
    return out[44:] + b"".join(chunks)


def seal_record(key, kind, vault_id, place, plain):
    salt = k.kdf(key, "salt", os.urandom(32), k.u64(0), k.u64(0))[:24]
    context = b"kluis/v1/record\0" + k.lp(kind.encode()) + k.lp(vault_id) + k.lp(place)
    return salt + seal_message(key, salt, context, plain)


def seal_slot(credential, params, vault_id, root):
    slot_id, salt = os.urandom(16), os.urandom(32)
    info = b"".join(map(k.lp, (vault_id, slot_id, k.u32(credential.kind), k.cbor_encode(params), salt)))
    kek = credential.kek([slot_id, credential.kind, 1, params, salt, b"", b""], vault_id)
    out = k.expand(kek, b"kluis/v1/slot\0" + info, 64)
    sealed = ChaCha20Poly1305(out[:32]).encrypt(k.ZERO_NONCE, root, None)
    return [slot_id, credential.kind, 1, params, salt, out[32:], sealed]


def frame(mtime=None, length=None, at_end=False, attributes=b"", outside=None):
    flags = (mtime is not None) | (length is not None) << 2 | at_end << 3 | (outside is not None) << 4
    seconds, nanoseconds = mtime or (0, 0)
    return (bytes([1, flags]) + len(attributes).to_bytes(2, "big") + k.u32(nanoseconds)
            + seconds.to_bytes(8, "big", signed=True) + bytes(8) + k.u64(length or 0)
            + (k.sha256(outside) if outside else bytes(32)) + attributes.ljust(80, b"\0"))


def seal_object(ck, path, vault_id, collection, plain, padded=None, epoch=0, stamp=0, version=1, outside=None, **frame_args):
    """The object and, with `outside`, its sealed attributes. `padded`: None, "known" or "stream"."""
    fixed = (b"KLO1" + bytes([1, padded is not None, 0, 0]) + k.u32(epoch) + k.u32(stamp) + k.u64(version) + collection)
    if padded == "known":
        frame_args["length"] = len(plain)
        plain = plain.ljust(k.padme(len(plain)), b"\0")
    elif padded == "stream":
        frame_args["at_end"] = True
        plain = plain.ljust(k.padme(len(plain) + 8) - 8, b"\0") + k.u64(len(plain))
    ik = k.object_key(ck, path)
    salt = k.kdf(ik, "salt", os.urandom(32), k.u64(version), k.u64(0))[:24]
    mk = k.kdf(ik, "msg", salt)
    if outside:
        outside = seal_record(k.kdf(mk, "attr", fixed), "attributes", vault_id, fixed + salt, outside)
    sealed = ChaCha20Poly1305(k.kdf(mk, "meta", fixed)).encrypt(
        k.ZERO_NONCE, frame(outside=outside, **frame_args), fixed + salt)
    context = b"kluis/v1/object\0" + vault_id + fixed + k.sha256(sealed)
    return fixed + sealed + salt + seal_message(mk, salt, context, plain), outside


class TinyVault:
    """A vault as a dict from path to bytes."""

    def __init__(self, credentials):
        self.files = {}
        self.authority = Ed25519PrivateKey.generate()
        self.public = self.authority.public_key().public_bytes_raw()
        self.id = k.sha256(b"kluis/v1/vault\0" + self.public)[:16]
        self.root, self.owner, self.nk, self.ck, self.collection = (os.urandom(n) for n in (32, 32, 32, 32, 16))
        self.identity = k.cbor_encode([2, os.urandom(32), os.urandom(32), 1, []])
        self.slots = [seal_slot(c, [19456, 2, 1] if c.kind <= 2 else [], self.id, self.root) for c in credentials]
        self.entries, self.headers = [], []
        self.append([[1, self.collection, "", 0, self.nk, self.ck]])
        self.write_header()

    def append(self, actions, header=None):
        n, previous = len(self.entries), self.entries[-1][0] if self.entries else b""
        if n and n % 64 == 0:
            tree = ["o", [0, self.nk], 0, [[self.collection, "", 0, 0, [], [[0, 0, 0, self.ck]], [], 0]]]
            actions = [[3, [tree, [], [], [], []]]] + actions
        sealed = seal_record(k.kdf(self.owner, "owner", self.id), "ledger", self.id, k.u64(n) + k.u32(0),
                             k.cbor_encode(actions))
        named = [len(self.headers) - 1, self.headers[-1]] if self.headers else []
        signed = b"KLE1" + k.cbor_encode([self.id, n, 1, previous, named, [], [[[0, 0], sealed]]])
        entry = signed + self.authority.sign(b"kluis/v1/ledger\0" + signed)
        self.entries.append((k.sha256(entry), entry))
        self.claim("k/l", n, entry)

    def write_header(self):
        n, previous = len(self.headers), self.headers[-1] if self.headers else b""
        secrets = [self.authority.private_bytes_raw(), bytes(32), [self.owner], self.identity]
        wrapped = seal_record(k.kdf(self.root, "wrap", self.id), "wrap", self.id, k.u64(n), k.cbor_encode(secrets))
        signed = b"KLV1" + k.cbor_encode([1, self.id, [[self.public, 0, b""]], n, previous, 1, len(self.entries) - 1,
                                          self.entries[-1][0], 1, [], wrapped, self.slots])
        signed += k.hmac256(k.kdf(self.root, "mac", self.id), signed)
        header = signed + self.authority.sign(b"kluis/v1/header\0" + signed)
        self.headers.append(k.sha256(header))
        self.claim("k/h", n, header)
        self.files["kluis.vault"] = self.files["k/header"] = header

    def claim(self, folder, n, data):
        self.files[f"{folder}/{n:016x}-{k.sha256(data).hex()}"] = data
        self.files[f"{folder}/{n:016x}"] = k.sha256(data)

    def put(self, path, plain, **args):
        path, stored = tuple(path.split("/")), ["o"]
        for i, segment in enumerate(path):
            name, full = k.seal_segment(k.folder_key(self.nk, "dir", path[:i]), segment)
            stored.append(name)
            if full is not None:
                self.files["/".join(stored) + "~"] = full
        data, _ = seal_object(self.ck, path, self.id, self.collection, plain, **args)
        self.files["/".join(stored)] = data

    def save(self, folder):
        for path, data in self.files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
