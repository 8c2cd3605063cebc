#!/usr/bin/env python3
"""A second reader of the Kluis format, written from docs/FORMAT.md alone.

It reads a vault in a local folder. Section numbers in the comments are those of
FORMAT.md. The code is short rather than fast, and it does not try to keep
secrets out of memory: it is a check of the specification, not a tool.
"""

import argparse
import base64
import copy
import functools
import hashlib
import hmac
import os
import re
import sys
import unicodedata
from collections import namedtuple
from pathlib import Path

from blake3 import blake3
from Crypto.Cipher import ChaCha20
from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from mnemonic import Mnemonic


class KluisError(Exception):
    """Base class; the class says what kind of failure it is."""


class Tampered(KluisError): """A stored record is not what its owner wrote."""
class Stale(Tampered): """A record is newer than the ledger at hand, or the ledger older than a record."""
class WrongCredentials(KluisError): """No slot opens with this credential."""
class UnsupportedFormat(KluisError): """Written by a later version of the format."""
class LimitExceeded(KluisError): """Over a limit of the format."""
class AccessDenied(KluisError): """A grant that is not filed, or what was written before it."""
class NotFound(KluisError): """Another version than the one that was shared."""
class InvalidInput(KluisError): """What the caller gave is not allowed."""


def require(condition, message, error=Tampered):
    if not condition:
        raise error(message)


# --- 1. Conventions -----------------------------------------------------------

CHUNK, TAG = 16384, 16
ZERO_NONCE = bytes(12)


def u32(n): return n.to_bytes(4, "big")
def u64(n): return n.to_bytes(8, "big")
def lp(x): return u32(len(x)) + x
def sha256(x): return hashlib.sha256(x).digest()
def hmac256(key, x): return hmac.digest(key, x, "sha256")


def expand(key, info, length):
    """HKDF-Expand with SHA-256."""
    out = block = b""
    for i in range(1, -(-length // 32) + 1):
        block = hmac256(key, block + info + bytes([i]))
        out += block
    return out[:length]


def kdf(key, label, *contexts):
    return expand(key, b"kluis/v1/" + label.encode() + b"\0" + b"".join(map(lp, contexts)), 32)


def aead_open(key, nonce, sealed, aad=None):
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, aad)
    except (InvalidTag, ValueError):
        raise Tampered("a ciphertext does not authenticate") from None


P25519 = 2**255 - 19
ORDER_8 = 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7
SMALL_ORDER = {0, 1, P25519 - 1, ORDER_8, P25519 - ORDER_8}  # the y coordinates


def verify(public_key, signature, message):
    """Ed25519 verified strictly: canonical encodings, no points of small order."""
    for point in (public_key, signature[:32]):
        y = int.from_bytes(point, "little") % 2**255
        require(y < P25519 and y not in SMALL_ORDER, "a signature has a weak point")
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise Tampered("a signature is wrong") from None


def cbor_encode(x):
    def head(major, n):
        for extra, code in ((0, None), (1, 24), (2, 25), (4, 26), (8, 27)):
            if extra == 0 and n < 24:
                return bytes([major << 5 | n])
            if extra and n < 1 << 8 * extra:
                return bytes([major << 5 | code]) + n.to_bytes(extra, "big")
    if isinstance(x, int):
        return head(0, x)
    if isinstance(x, bytes):
        return head(2, len(x)) + x
    if isinstance(x, str):
        return head(3, len(x.encode())) + x.encode()
    return head(4, len(x)) + b"".join(map(cbor_encode, x))


def cbor_decode(data):
    """One record of the deterministic subset: decode, encode again, compare."""
    def item(at, depth):
        major, n = data[at] >> 5, data[at] & 31
        at += 1
        if n >= 24:
            size = {24: 1, 25: 2, 26: 4, 27: 8}[n]
            n, at = int.from_bytes(data[at:at + size], "big"), at + size
        if major == 0:
            return n, at
        require(n <= len(data) - at and depth < 16, "a record is cut short")
        if major == 4:
            out = []
            for _ in range(n):
                x, at = item(at, depth + 1)
                out.append(x)
            return out, at
        raw = bytes(data[at:at + n])
        return {2: lambda: raw, 3: raw.decode}[major](), at + n
    try:
        x, _ = item(0, 0)
    except (IndexError, KeyError, UnicodeDecodeError):
        raise Tampered("a record is not deterministic CBOR") from None
    require(cbor_encode(x) == data, "a record is not deterministic CBOR")
    return x


# The shape of a record: each of these gives a function that checks one value.
def uint(x): require(type(x) is int, "not an integer")
def uint32(x): require(type(x) is int and x < 1 << 32, "not an integer of 32 bits")
def anything(x): pass


def text(limit=None):
    def check(x):
        require(type(x) is str, "not a text")
        require(limit is None or len(x.encode()) <= limit, "a text is too long", LimitExceeded)
    return check


def octets(*sizes):
    def check(x): require(type(x) is bytes and (not sizes or len(x) in sizes), "not a byte string of its size")
    return check


def row(*shapes):
    def check(x):
        require(type(x) is list and len(x) == len(shapes), "an array has not its length")
        for shape, value in zip(shapes, x):
            shape(value)
    return check


def many(shape, low=0, high=None):
    def check(x):
        require(type(x) is list and len(x) >= low, "an array has not its length")
        require(high is None or len(x) <= high, "too many elements", LimitExceeded)
        for value in x:
            shape(value)
    return check


def maybe(shape):
    """[], or an array of that shape."""
    return lambda x: x == [] or shape(x)


def parse(data, shape):
    x = cbor_decode(data)
    shape(x)
    return x


# --- 1. Sealed record, and the C2SP message it shares with objects -------------

class Message:
    """A C2SP chunked-encryption message with AEAD_CHACHA20_POLY1305 and SHA-256."""

    def __init__(self, input_key, salt, context, commitment, mismatch=Tampered):
        info = b"c2sp.org/chunked-encryption@v1+AEAD_CHACHA20_POLY1305\0" + salt + context
        out = expand(input_key, info, 76)
        require(hmac.compare_digest(out[44:], commitment), "a commitment is wrong", mismatch)
        self.cipher, self.nonce = ChaCha20Poly1305(out[:32]), int.from_bytes(out[32:44], "big")

    def open(self, i, chunk):
        try:
            return self.cipher.decrypt((self.nonce ^ i).to_bytes(12, "big"), chunk, None)
        except (InvalidTag, ValueError):
            raise Tampered(f"chunk {i} does not authenticate") from None


def open_record(key, kind, vault_id, place, sealed, mismatch=Tampered):
    """The inverse of Seal(k, kind, vault id, place, x)."""
    size = len(sealed) - 56
    require(size >= TAG and size % (CHUNK + TAG) >= TAG, "a sealed record has not a valid length")
    context = b"kluis/v1/record\0" + lp(kind.encode()) + lp(vault_id) + lp(place)
    message = Message(key, sealed[:24], context, sealed[24:56], mismatch)
    return b"".join(message.open(i, sealed[at:at + CHUNK + TAG])
                    for i, at in enumerate(range(56, len(sealed), CHUNK + TAG)))


# --- 3. Passwords and slots ----------------------------------------------------

def normalize_password(password):
    try:
        s = unicodedata.normalize("NFC", password.decode())
    except UnicodeDecodeError:
        raise InvalidInput("a password is not UTF-8") from None
    require(s and not any(unicodedata.category(c) == "Cc" for c in s),
            "a password is empty or has control characters", InvalidInput)
    return "".join(" " if unicodedata.category(c) == "Zs" else c for c in s).encode()


def check_keyfile(keyfile):
    require(len(keyfile) == 32, "a keyfile has not 32 bytes", InvalidInput)
    return keyfile


def phrase_entropy(phrase):
    words = Mnemonic("english")
    try:
        require(len(phrase.split()) == 24, "a recovery phrase has not 24 words", InvalidInput)
        return bytes(words.to_entropy(" ".join(phrase.split())))
    except (ValueError, LookupError):
        raise InvalidInput("not a recovery phrase: a word or the checksum is wrong") from None


def check_argon2(m, t, p):
    require(19 * 1024 <= m <= 1024 * 1024 and 2 <= t <= 10 and p == 1 and m * t <= 4 * 1024 * 1024,
            "Argon2id parameters are outside the limits", LimitExceeded)


def argon2id(password, salt, m, t, p):
    check_argon2(m, t, p)
    return Argon2id(salt=salt, length=32, iterations=t, lanes=p, memory_cost=m).derive(password)


class Credential:
    """What opens a slot: its kind, and the KEK for a slot of a vault, None where it cannot be."""

    def __init__(self, kind, kek):
        self.kind, self.kek = kind, kek

    @classmethod
    def password(cls, password, keyfile=None):
        password = normalize_password(password)
        if keyfile is None:
            return cls(1, lambda slot, vault_id: argon2id(password, slot[4], *slot[3]))
        check_keyfile(keyfile)
        return cls(2, lambda slot, vault_id: hmac256(argon2id(password, slot[4], *slot[3]), keyfile))

    @classmethod
    def phrase(cls, phrase):
        entropy = phrase_entropy(phrase)
        return cls(3, lambda slot, vault_id: kdf(entropy, "phrase", vault_id, slot[4]))

    @classmethod
    def identity(cls, secrets):
        identity = Identity(secrets)

        def kek(slot, vault_id):
            info = b"kluis/v1/device\0" + vault_id + slot[0] + identity.card.hash
            try:
                return export(identity.suite, identity.seed, slot[6][:-48], info) if slot[3] == [identity.suite] else None
            except Tampered:
                return None
        return cls(4, kek)

    @classmethod
    def keychain(cls, secret):
        return cls(5, lambda slot, vault_id: kdf(secret, "chain-secret", vault_id, slot[4]))


SLOT = row(octets(16), uint, uint, many(uint), octets(32), octets(32), octets())


def check_slot(slot):
    SLOT(slot)
    _, kind, _, params, _, _, sealed = slot
    require(1 <= kind <= 5, f"slot kind {kind} is unknown", UnsupportedFormat)
    require(len(sealed) <= 2048, "a sealed key is too long", LimitExceeded)
    if kind == 4:
        require(len(params) == 1, "a slot of a device has one parameter")
        require(params[0] in SUITES, "a suite is unknown", UnsupportedFormat)
        require(len(sealed) == SUITES[params[0]].enc + 48, "a slot has not its form")
        return
    require(len(params) == (3 if kind <= 2 else 0) and len(sealed) == 48, "a slot has not its form")
    if kind <= 2:
        check_argon2(*params)


def open_slot(slot, vault_id, credential):
    """The vault root key, or None if the slot is another credential's."""
    slot_id, kind, _, params, salt, commitment, sealed = slot
    if kind != credential.kind:
        return None
    kek = credential.kek(slot, vault_id)
    if kek is None:
        return None
    info = b"".join(map(lp, (vault_id, slot_id, u32(kind), cbor_encode(params), salt)))
    out = expand(kek, b"kluis/v1/slot\0" + info, 64)
    if not hmac.compare_digest(out[32:], commitment):
        return None
    return aead_open(out[:32], ZERO_NONCE, sealed[-48:])


# --- 3. Vault header -----------------------------------------------------------

AUTHORITIES = many(row(octets(32), uint, octets(0, 64)), 1, 257)
HEADER = row(uint, octets(16), AUTHORITIES, uint, octets(0, 32), uint,
             uint, octets(32), uint, many(row(uint, uint)), octets(), many(SLOT, 1, 32))
SECRETS = row(octets(32), octets(32), many(octets(32), 1, 256), octets())


def strip_magic(data, magic, limit):
    require(len(data) <= limit, "a record is too long", LimitExceeded)
    require(data[:3] == magic[:3] and len(data) > 3, "a record has another magic number")
    require(data[3] == magic[3], "a record of a later version", UnsupportedFormat)
    return data[4:]


def check_authorities(authorities, vault_id):
    """The key in force."""
    first, begin, signature = authorities[0]
    require(begin == 0 and not signature, "the first authority has not its form")
    require(vault_id == sha256(b"kluis/v1/vault\0" + first)[:16], "the vault id is not its key's")
    for (key, start, _), (next_key, begin, signature) in zip(authorities, authorities[1:]):
        require(begin > start, "authorities are out of order")
        verify(key, signature, b"kluis/v1/succession\0" + vault_id + next_key + u64(begin))
    return authorities[-1][0]


class Header:
    def __init__(self, data, vault_id=None):
        body = strip_magic(data, b"KLV1", 65536)
        require(len(body) > 96, "a header is cut short")
        self.hash, self.signed, self.mac = sha256(data), data[:-96], data[-96:-64]
        (self.suite, self.vault_id, self.authorities, self.sequence, self.previous, self.time,
         self.ledger_sequence, self.ledger_hash, profile, policy, self.wrapped,
         self.slots) = parse(body[:-96], HEADER)
        require(vault_id in (None, self.vault_id), "this is another vault")
        self.authority = check_authorities(self.authorities, self.vault_id)
        verify(self.authority, data[-64:], b"kluis/v1/header\0" + data[:-64])
        require(self.suite in (1, 2) and profile == 1 and not policy,
                "a suite, name profile or policy is unknown", UnsupportedFormat)
        require(len(self.previous) == (32 if self.sequence else 0), "the hash before has not its length")
        for slot in self.slots:
            check_slot(slot)
        for kind in (1, 2):
            require(sum(s[1] == kind for s in self.slots) <= 4, "too many password slots", LimitExceeded)
        require(any(s[1] != 4 for s in self.slots), "every slot is a device's")

    def unlock(self, credential):
        """Opens a slot, checks the MAC and gives the root key."""
        for slot in self.slots:
            root = open_slot(slot, self.vault_id, credential)
            if root is not None:
                mac = hmac256(kdf(root, "mac", self.vault_id), self.signed)
                require(hmac.compare_digest(mac, self.mac), "the header's MAC is wrong")
                return root
        raise WrongCredentials("no slot opens with this credential")

    def secrets(self, root):
        """[authority seed, state key, owner keys, the identity's secrets]"""
        key = kdf(root, "wrap", self.vault_id)
        x = parse(open_record(key, "wrap", self.vault_id, u64(self.sequence), self.wrapped), SECRETS)
        Identity(x[3])
        public = Ed25519PrivateKey.from_private_bytes(x[0]).public_key().public_bytes_raw()
        require(public == self.authority, "the authority's seed is not its key's")
        return x


def claims(store, folder):
    """(sequence, hash) of every claim, the highest first."""
    found = []
    for name in store.names(folder):
        if re.fullmatch("[0-9a-f]{16}", name):
            claim = store.get(f"{folder}/{name}")
            found.append((int(name, 16), claim))
    return sorted(found, reverse=True)


def record(store, folder, sequence, digest):
    data = store.get(f"{folder}/{sequence:016x}-{digest.hex()}")
    require(data is not None and sha256(data) == digest, "a record is missing or damaged")
    return data


def choose_header(store, vault_id=None):
    """Section 3, Reading: the highest sequence of the copies and the claimed records."""
    copies = [store.get(name) for name in ("kluis.vault", "k/header")]
    claimed, candidates, failures = claims(store, "k/h"), [], []

    def attempt(read):
        try:
            header = Header(read())
        except KluisError as e:
            failures.append(e)
            return None
        require(vault_id in (None, header.vault_id), "a copy of the header is another vault's")
        candidates.append(header)
        return header

    for data in copies:
        if data is not None:
            attempt(lambda: data)
    for sequence, digest in claimed:
        header = attempt(lambda: record(store, "k/h", sequence, digest))
        if header and header.sequence == sequence:
            break
    require(failures or candidates, "no vault there", InvalidInput)
    if not candidates:
        raise next((e for e in failures if not isinstance(e, Tampered)), failures[0])
    require(len({h.vault_id for h in candidates}) == 1, "copies of the header are of different vaults")
    return max(candidates, key=lambda h: (h.sequence, (h.sequence, h.hash) in claimed))


# --- 4. Ledger -----------------------------------------------------------------

ENTRY = row(octets(16), uint, uint, octets(0, 32), many(anything, 0, 2), many(octets(32), 0, 4096),
            many(row(many(anything), octets()), 0, 16384))
HEADER_REF = row(uint, octets(32))
EPOCH = row(uint32, uint, uint, octets(32))
COLLECTION = row(octets(16), text(), uint, uint32, maybe(row(uint)), many(EPOCH, 1, 65536),
                 many(row(octets(32), uint32, uint32), 0, 65536), uint32)
TREE = row(text(1024), many(anything, 2, 3), uint, many(COLLECTION, 0, 65536))
TERMS = row(uint, uint, uint, text(1024))
CONTACT = row(text(255), octets(), uint)
LOCK = maybe(row(many(uint, 3, 3), octets(32)))
LINK = row(octets(16), octets(32), maybe(row(many(uint, 3, 3), octets(32), octets(32))), many(anything, 2, 3),
           row(uint, text(1024), uint), uint, uint)
TOPS = {0: row(uint, octets(32)), 1: row(uint, text()), 2: row(uint, text(), octets(32))}
SCOPES = {0: row(uint, text()), 1: row(uint, text()), 2: row(uint, text(), octets(32)),
          3: row(uint, octets(16), text(255))}
GRANT = row(octets(16), text(255), octets(), many(anything, 2, 3), TERMS, octets(32), uint, uint, octets(32), octets(0, 16),
            octets(0, 32))
GROUP = row(text(255), uint, uint, octets(32), COLLECTION, many(GRANT, 0, 65536))
ACTIONS = {
    1: row(uint, octets(16), text(), uint, octets(0, 32), octets(32)),
    2: row(uint, octets(16), uint32, octets(32)),
    3: row(uint, row(TREE, many(CONTACT, 0, 65536), many(GRANT, 0, 65536), many(LINK, 0, 65536),
                     many(GROUP, 0, 4096))),
    4: row(uint, octets(16), uint32),
    5: row(uint, CONTACT),
    6: row(uint, text(255)),
    7: row(uint, GRANT),
    8: row(uint, octets(16)),
    9: row(uint, octets(32)),
    10: row(uint, octets(16), octets(0, 32)),
    11: row(uint, octets(16), many(octets(32), 0, 65536), many(octets(32), 0, 65536)),
    12: row(uint, LINK),
    13: row(uint, octets(16)),
    14: row(uint, GROUP),
    18: row(uint, octets(16), uint32),
    19: row(uint, octets(16), octets(32)),
}


def parse_mount(mount):
    """A path below the top of a tree, as a tuple of segments."""
    try:
        path = tuple(mount.split("/")) if mount else ()
        for segment in path:
            check_segment(segment)
    except InvalidInput:
        raise Tampered("a folder is not a path") from None
    return path


def check_kind(x, kinds, error=Tampered):
    """[0, …] is of a folder, [1, name or path] of an object, [2, …, commitment] of a version, [3, id, name] of a group."""
    uint(x[0])
    require(x[0] in kinds, "a kind of grant is unknown", error)
    kinds[x[0]](x)
    require(x[0] == 0 or parse_mount(x[2 if x[0] == 3 else 1]), "an object or a group has no name")
    return x


def check_scope(x):
    check_kind(x, SCOPES, UnsupportedFormat)
    path = parse_mount(x[2 if x[0] == 3 else 1])
    require(x[0] != 3 or len(path) == 1, "no name of a group")
    return path


def check_link_scope(x):
    path = check_scope(x)
    require(x[0] <= 1, "a link to what is neither a folder nor an object")
    return path


def is_control_free(x): return not any(unicodedata.category(c) == "Cc" for c in x)


class Collection:
    """`epochs` are [epoch, opened, orphan, CK]. `mount` is below the top of its tree."""

    def __init__(self, id, mount, options, floor, closed, epochs, writers=(), lease=0):
        require(options <= 1, "an option is unknown", UnsupportedFormat)
        require(all(e[2] <= 1 for e in epochs), "a key's kind is unknown")
        self.id, self.mount, self.options, self.floor = id, parse_mount(mount), options, floor
        self.closed, self.epochs = closed[0] if closed else None, sorted(map(list, epochs), key=self.order)
        require(self.epochs == epochs and all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(self.chain, self.chain[1:])),
                "the keys of a collection are out of order")
        # Not so for what a folder took over, and where only orphans have a key.
        self.is_written = bool(self.chain) and self.closed is None
        self.lease = lease
        self.writers = {}  # (key, from) to until, 0 for still
        for key, begin, until in writers:
            require(not self.writers or (key, begin) > max(self.writers), "writers are out of order")
            self.add_writer(key, begin)
            if until:
                self.remove_writer(key, until)

    def terms_of(self, key): return sorted((begin, until) for (k, begin), until in self.writers.items() if k == key)

    def add_writer(self, key, begin):
        require(all(until and until <= begin for _, until in self.terms_of(key)[-1:]), "a writer is there already")
        self.writers[key, begin] = 0

    def remove_writer(self, key, until):
        terms = self.terms_of(key)
        require(terms and not terms[-1][1] and terms[-1][0] < until, "no such writer")
        self.writers[key, terms[-1][0]] = until

    def still_writes(self, key): return bool(self.terms_of(key)) and not self.terms_of(key)[-1][1]

    def may_write(self, key, epoch):
        return any(begin <= epoch and (not until or epoch < until) for begin, until in self.terms_of(key))

    @staticmethod
    def order(epoch): return (epoch[0], not epoch[2], epoch[1])

    @property
    def chain(self): return [e for e in self.epochs if not e[2]]

    @property
    def opened(self): return self.epochs[0][1]

    def add(self, epoch, opened, orphan, ck):
        if not any(e[0] == epoch and e[3] == ck and orphan >= e[2] for e in self.epochs):
            self.epochs.append([epoch, opened, orphan, ck])
            self.epochs.sort(key=self.order)


class Tree:
    """Section 4 and 5: collections below a folder, or for one object, and which keys are right at a path."""

    def __init__(self, top, of, held_back=0, collections=()):
        segments = top.split("/")
        require(segments[0] == "o" and all(re.fullmatch("[0-9a-v~]+", s) for s in segments[1:]), "a path is not one of the store")
        require(held_back <= 1, "not 0 or 1")
        self.top, self.of, self.held_back, self.collections = top, check_kind(of, TOPS), held_back, {}
        self.unfiled = False  # in the hands of somebody whom the owner may not know of
        self.nk, self.object = (of[1], None) if of[0] == 0 else (b"", parse_mount(of[1]))
        require(self.object is None or len(self.object) == 1, "the name of an object is not a segment")
        for x in collections:
            require(self.object is None or not x[1], "a collection is mounted in an object")
            require(not self.collections or x[0] > max(self.collections), "collections are out of order")
            self.add(Collection(*x))

    def is_of(self, scope): return self.of[0] == scope[0] and (self.object is None or self.of == scope)

    def add(self, collection):
        require(collection.id not in self.collections, "a collection is there twice")
        require(not collection.is_written or self.at(collection.mount) is None, "two collections are mounted at one folder")
        self.collections[collection.id] = collection

    def at(self, mount):
        """The collection that is written to and mounted there."""
        return next((c for c in self.collections.values() if c.is_written and c.mount == mount), None)

    def on_the_way(self, path):
        return [c for i in range(len(path)) for c in [self.at(path[:i])] if c]

    def closed_at(self, collection, epoch, path):
        """The first entry that closed the epoch at this path, or None."""
        times = [e[1] for e in collection.chain if e[0] > epoch]
        times += [c.opened for c in self.on_the_way(path) if len(c.mount) > len(collection.mount)]
        return min(times + ([] if collection.closed is None else [collection.closed]), default=None)

    def is_refused(self, collection, epoch, path):
        # What a folder took over stands further up than its own.
        inner = (c for c in self.on_the_way(path) if c is not collection and len(c.mount) >= len(collection.mount))
        return epoch < collection.floor or any(c.floor > 0 for c in inner)

    def apply(self, sequence, action):
        """Actions 1 (of a folder), 2, 4, 11 and 18."""
        kind, cid = action[:2]
        if kind == 1:
            _, _, mount, options, nk, ck = action
            require(mount and not nk, "a mounted collection has not its form")
            self.add(Collection(cid, mount, options, 0, [], [[1, sequence, 0, ck]]))
            return
        require(cid in self.collections and self.collections[cid].chain, "a collection is unknown")
        collection = self.collections[cid]
        last = collection.chain[-1][0]
        if kind == 2:
            require(action[2] == last + 1, "an epoch does not follow the last one")
            collection.add(action[2], sequence, 0, action[3])
            collection.closed = None
        elif kind == 18:
            collection.lease = action[2]
        elif kind == 11:
            for keys in action[2:]:
                require(keys == sorted(set(keys)), "writers are out of order")
            for key in action[2]:
                collection.add_writer(key, last)
            for key in action[3]:
                collection.remove_writer(key, last)
        else:
            require(kind == 4 and collection.floor <= action[2] <= last, "a floor is out of range")
            collection.floor = action[2]

    def name_key(self, folder): return folder_key(self.nk, "dir", folder)

    def stored_path(self, path):
        if self.object is not None:
            require(path == self.object, "not the object that was shared", NotFound)
            return self.top
        return "/".join([self.top, *(seal_segment(self.name_key(path[:i]), segment)[0] for i, segment in enumerate(path))])

    def open(self, source, vault_id, suite, ledger_sequence, path, outside=None):
        """The object at a path below the top. `source` is a binary file."""
        header = source.read(256)
        collection = self.collections.get(header[24:40])
        denied = AccessDenied if self.held_back or self.unfiled else Tampered
        require(self.of[0] != 2 or self.of[2] == header[224:], "another version lies there now", NotFound)
        if self.object is not None and path == self.object and collection is not None:
            below = None if self.of[0] == 2 else ()
        elif (self.object is not None or collection is None or path[:len(collection.mount)] != collection.mount
              or path == collection.mount):
            return Object(source, vault_id, suite, header[24:40], [], ledger_sequence, path, outside, denied=denied)
        else:
            below = path[len(collection.mount):]
        signed = suite == 2 and (self.stored_path(path), collection.may_write)
        epoch = int.from_bytes(header[8:12], "big")
        return Object(source, vault_id, suite, collection.id, collection.epochs, ledger_sequence, below, outside, epoch + 1
                      if self.is_refused(collection, epoch, path) else 0, self.closed_at(collection, epoch, path), denied, signed,
                      collection.floor)


def check_terms(terms):
    rights, begin, end, purpose = terms
    require(rights <= 7, "a right is unknown", UnsupportedFormat)
    require(not (begin and end) or begin < end, "an access ends before it begins")
    require(is_control_free(purpose), "a purpose has control characters")


class State:
    """What the owner has decided."""

    def __init__(self, tree, contacts=(), grants=(), links=(), groups=()):
        self.tree, self.contacts, self.grants, self.links, self.groups = tree, {}, {}, {}, {}
        for contact in contacts:
            require(not self.contacts or contact[0].encode() > max(self.contacts).encode(), "contacts are out of order")
            self.contact(contact)
        for grant in grants:
            require(not self.grants or grant[0] > max(self.grants), "grants are out of order")
            self.check_grant(grant)
            self.grants[grant[0]] = grant
        for link in links:
            require(not self.links or link[0] > max(self.links), "links are out of order")
            self.check_link(link)
            self.links[link[0]] = link
        for group in groups:
            group = Group(group)
            require(not self.groups or group.id > max(self.groups), "groups are out of order")
            self.groups[group.id] = group

    def contact(self, contact):
        name, card, trust = contact
        require(name and is_control_free(name), "a contact has not a name")
        require(trust <= 2, "a trust is unknown", UnsupportedFormat)
        Card(card)
        self.contacts[name] = contact

    @staticmethod
    def check_grant(grant):
        Card(grant[2])
        check_scope(grant[3])
        check_terms(grant[4])

    def hangs(self, grant):
        """Whether the grant that it was given on from is in force, older, and to be given on."""
        above = self.grants.get(grant[9])
        return not grant[9] or above is not None and above[6] < grant[6] and above[4][0] & 2 != 0

    @staticmethod
    def check_link(link):
        if link[2]:
            check_argon2(*link[2][0])
        check_link_scope(link[3])
        end, purpose, options = link[4]
        check_terms([0, 0, end, purpose])
        require(options <= 1, "an option is unknown", UnsupportedFormat)

    def apply(self, sequence, action):
        kind, x = action[:2]
        if kind == 5:
            self.contact(x)
        elif kind == 6:
            require(self.contacts.pop(x, None), "no such contact")
        elif kind == 2 and x in self.groups:
            self.groups[x].open(action[2], sequence, action[3])
        elif kind == 7 and x[3][0] == 3:
            require(x[3][1] in self.groups, "a grant of no group")
            self.groups[x[3][1]].join(x, sequence)
        elif kind == 14:
            group = Group(x, sequence)
            require(len(group.generations) == 1 and not group.members, "a group does not begin so")
            require(group.id not in self.groups and group.id not in self.tree.collections, "a group is there already")
            self.groups[group.id] = group
        elif kind == 7:
            self.check_grant(x)
            fits = x[3][0] != 0 or self.tree.at(parse_mount(x[3][1])) is not None
            require(x[0] not in self.grants and x[6] == sequence and fits and self.hangs(x),
                    "a grant does not fit the state before it")
            self.grants[x[0]] = x
        elif kind == 8:
            require(not any(grant[9] == x for grant in self.grants.values()), "another grant hangs below it")
            gone = self.grants.pop(x, None) or any(group.members.pop(x, None) for group in self.groups.values())
            require(gone, "no such grant")
        elif kind == 19:
            held = [all[x] for all in [self.grants, *(group.members for group in self.groups.values())] if x in all]
            require(held, "no such grant")
            held[0][10] = action[2]
        elif kind == 12:
            self.check_link(x)
            fits = x[3][0] != 0 or self.tree.at(parse_mount(x[3][1])) is not None
            require(x[0] not in self.links and x[5] == sequence and fits, "a link does not fit the state before it")
            self.links[x[0]] = x
        elif kind == 13:
            require(self.links.pop(x, None), "no such link")
        else:
            self.tree.apply(sequence, action)


class Group:
    """A group as the owner has it; its generations are [number, opened, seed]."""

    def __init__(self, group, opened=None):
        self.name, self.suite, _, _, collection, members = group
        self.id, mount, options, floor, closed, epochs, writers, lease = collection
        require(self.suite in SUITES, "a suite is unknown", UnsupportedFormat)
        require(len(parse_mount(self.name)) == 1, "no name of a group")
        require(not (mount or options or floor or closed or writers or lease or any(e[2] for e in epochs)), "no generations of a group")
        self.generations = [[e[0], e[1] if opened is None else opened, e[3]] for e in epochs]
        require(all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(self.generations, self.generations[1:])),
                "generations are out of order")
        require([m[0] for m in members] == sorted({m[0] for m in members}), "members are out of order")
        self.members = {}
        for member in members:
            self.join(member, member[6])

    def join(self, grant, sequence):
        State.check_grant(grant)
        require(grant[3] == [3, self.id, self.name] and grant[6] == sequence and grant[0] not in self.members, "no member")
        self.members[grant[0]] = grant

    def open(self, number, opened, seed):
        require(number == self.generations[-1][0] + 1, "a generation does not follow")
        self.generations.append([number, opened, seed])


class Entry:
    def __init__(self, data, vault_id, authorities):
        body = strip_magic(data, b"KLE1", 4 << 20)
        require(len(body) > 64, "an entry is cut short")
        self.hash, self.data = sha256(data), data
        (self.vault_id, self.sequence, self.time, self.previous, self.header, self.settled,
         self.parts) = parse(body[:-64], ENTRY)
        require(self.vault_id == vault_id, "an entry of another vault")
        require(len(self.previous) == (32 if self.sequence else 0), "the hash before has not its length")
        if self.header or self.sequence:
            HEADER_REF(self.header)
        require(self.settled == sorted(set(self.settled)), "settled orphans are out of order")
        in_force = [a[0] for a in authorities if a[1] <= self.sequence][-1]
        verify(in_force, data[-64:], b"kluis/v1/ledger\0" + data[:-64])

    def owner_parts(self, owner_keys):
        """The CBOR of the actions of each owner part."""
        found = []
        for i, (audience, sealed) in enumerate(self.parts):
            if audience[:1] == [1]:
                row(uint, octets(16), uint32)(audience)
                continue
            if audience[:1] == [2]:
                row(uint, octets(16))(audience)
                continue
            require(audience[:1] == [0], "an audience is unknown", UnsupportedFormat)
            row(uint, uint)(audience)
            require(audience[1] < len(owner_keys), "an owner part has no key", Stale)
            found.append(self.part(kdf(owner_keys[audience[1]], "owner", self.vault_id), i, sealed))
        return found

    def part(self, key, i, sealed):
        return open_record(key, "ledger", self.vault_id, u64(self.sequence) + u32(i), sealed)

    def actions(self, owner_keys):
        return [action for part in self.owner_parts(owner_keys) for action in parse_actions(part)]


def parse_actions(part):
    actions = parse(part, many(many(anything, 1), 0, 1 << 18))
    for action in actions:
        uint(action[0])
        require(action[0] in ACTIONS, "an action is unknown", UnsupportedFormat)
        ACTIONS[action[0]](action)
    return actions


def apply_entry(state, sequence, actions):
    """The state behind the entry. Only entry 0 and a snapshot need none before."""
    for i, action in enumerate(actions):
        if action[0] == 3:
            require(i == 0 and sequence > 0 and sequence % 64 == 0, "a snapshot stands where it may not")
            tree = Tree(*action[1][0])
            state = State(tree, *action[1][1:])
            require(tree.top == "o" and tree.object is None and not tree.held_back and tree.at(()) is not None, "a snapshot is not of a whole vault")
            require(all(c.closed is None and (not c.chain or c.chain[-1][1] < sequence) for c in tree.collections.values())
                    and all(grant[6] < sequence and state.hangs(grant) for grant in state.grants.values())
                    and all(link[5] < sequence for link in state.links.values())
                    and all(g.generations[-1][1] < sequence and all(m[6] < sequence for m in g.members.values())
                            and g.id not in tree.collections for g in state.groups.values()), "a snapshot is of a later entry")
        elif action[0] == 1 and action[4]:
            _, cid, mount, options, nk, ck = action
            require(state is None and sequence == 0 and not mount, "the vault's own collection stands where it may not")
            state = State(Tree("o", [0, nk]))
            state.tree.add(Collection(cid, mount, options, 0, [], [[0, 0, 0, ck]]))
        else:
            require(state is not None, "an entry needs one before it")
            state.apply(sequence, action)
    return state


class Ledger:
    """Section 4, Reading. `header` is (sequence, hash, ledger sequence, ledger hash) of the header at hand."""

    def __init__(self, store, vault_id, authorities, owner_keys, header):
        header_sequence, header_hash, named_sequence, named_hash = header
        load = lambda sequence, digest: self.load(store, vault_id, authorities, sequence, digest)
        last = None
        for sequence, digest in sorted(set(claims(store, "k/l")) | {(named_sequence, named_hash)}, reverse=True):
            try:
                last = load(sequence, digest)
                break
            except Tampered:
                require((sequence, digest) != (named_sequence, named_hash), "the entry that the header names is gone", Stale)
        chain = [last]
        while chain[-1].sequence % 64:
            chain.append(load(chain[-1].sequence - 1, chain[-1].previous))
        require(named_sequence < chain[-1].sequence or (named_sequence, named_hash) in [(e.sequence, e.hash) for e in chain],
                "the entry that the header names is not in the ledger", Stale)
        for entry in chain:
            if entry.header:
                require(entry.header[0] < header_sequence or entry.header == [header_sequence, header_hash],
                        "the header is older than the ledger", Stale)
        self.last, self.state = last, None
        newest = 0
        for entry in reversed(chain):
            owners = [audience[1] for audience, _ in entry.parts if audience[0] == 0]
            require(max(owners, default=0) >= newest, "an owner key is older than one before it")
            newest = max(owners, default=0)
            self.state = apply_entry(self.state, entry.sequence, entry.actions(owner_keys))
        require(self.state is not None, "a ledger without a vault")
        self.tree, self.entries = self.state.tree, chain[::-1]
        self.of_chain = copy.deepcopy(self.state)  # before the keys of orphans
        self.read_orphans(store, load, {e.hash for e in chain}, owner_keys, authorities[-1][1])

    @staticmethod
    def load(store, vault_id, authorities, sequence, digest):
        entry = Entry(record(store, "k/l", sequence, digest or b""), vault_id, authorities)
        require(entry.sequence == sequence, "an entry lies under another number")
        return entry

    def read_orphans(self, store, load, known, owner_keys, authority_from):
        """Valid entries of the authority in force outside the chain: their keys can be read with."""
        for name in store.names("k/l"):
            match = re.fullmatch("([0-9a-f]{16})-([0-9a-f]{64})", name)
            if not match or bytes.fromhex(match[2]) in known or int(match[1], 16) < authority_from:
                continue
            try:
                entry = load(int(match[1], 16), bytes.fromhex(match[2]))
                new = entry.actions(owner_keys)
            except Tampered:
                continue
            collections, mounted = self.tree.collections, set()
            for action in new:
                if action[0] == 2 and action[1] in collections:
                    collections[action[1]].add(action[2], entry.sequence, 1, action[3])
                elif action[0] == 1 and not action[4] and action[1] not in collections:
                    self.tree.add(Collection(*action[1:4], 0, [], [[1, entry.sequence, 1, action[5]]]))
                    mounted.add(action[1])
                elif action[0] == 11 and action[1] in mounted:
                    for key in action[2]:
                        collections[action[1]].add_writer(key, 1)


# --- 5. Keys of objects ----------------------------------------------------------

@functools.lru_cache(maxsize=4096)
def folder_key(top, label, folder):
    """D (label "dir") or T (label "sub") of a folder, a tuple of segments."""
    if not folder:
        return top
    return kdf(folder_key(top, label, folder[:-1]), label, folder[-1].encode())


def object_key(ck, path):
    return kdf(folder_key(ck, "sub", path[:-1]), "obj", path[-1].encode())


# --- 6. Names --------------------------------------------------------------------

def message_key(key, path, salt):
    """MK, from CK and the path below the mount, from IK and no path, or as it was given."""
    if path is None:
        return key
    return kdf(object_key(key, path) if path else key, "msg", salt)


def check_segment(segment):
    try:
        raw = segment.encode()
    except UnicodeEncodeError:
        raise InvalidInput("a name is not UTF-8") from None
    require(segment not in ("", ".", "..") and "/" not in segment and len(raw) <= 1023
            and not any(unicodedata.category(c) == "Cc" for c in segment), "a name is not allowed", InvalidInput)
    return raw


def base32hex(x): return base64.b32hexencode(x).decode().rstrip("=").lower()


def seal_segment(name_key, segment):
    """(stored, full): full is the content of the object beside a long segment, else None."""
    raw = check_segment(segment)
    padded = raw + b"\x80"
    padded += bytes(-len(padded) % 16)
    iv = hmac256(kdf(name_key, "siv"), padded)[:16]
    sealed = iv + ChaCha20.new(key=kdf(name_key, "name"), nonce=iv + bytes(8)).encrypt(padded)
    if len(raw) <= 127:
        return base32hex(sealed), None
    return "~" + base32hex(sha256(b"kluis/v1/long-name\0" + sealed)), sealed


def open_segment(name_key, stored, full=None):
    """The segment, or None if what is stored is foreign."""
    try:
        sealed = full if stored.startswith("~") else base64.b32hexdecode(stored.upper() + "=" * (-len(stored) % 8))
        if sealed is None or len(sealed) < 32:
            return None
        iv = sealed[:16]
        padded = ChaCha20.new(key=kdf(name_key, "name"), nonce=iv + bytes(8)).decrypt(sealed[16:])
        segment = padded[:padded.rindex(b"\x80")].decode()
        return segment if seal_segment(name_key, segment)[0] == stored else None
    except (ValueError, InvalidInput):
        return None


def is_full_name(stored):
    return stored.startswith("~") and stored.endswith("~")


# --- 7. Objects --------------------------------------------------------------------

def stored_length(suite, plain):
    n = plain // CHUNK + 1
    if suite == 1:
        return 256 + plain + 16 * n
    return 256 + plain + 48 * n + 32 * -(-n // 256) + 96


def plain_length(suite, stored):
    if suite == 1:
        require(stored >= 272 and (stored - 256) % 16400 >= 16, "an object has not a valid length")
        return stored - 256 - 16 * ((stored - 272) // 16400 + 1)
    x = stored - 432
    a = x // 4206624
    b = min(255, (x - 4206624 * a) // 16432)
    r = x - 4206624 * a - 16432 * b
    require(x >= 0 and r < CHUNK, "an object has not a valid length")
    return CHUNK * (256 * a + b) + r


def chunk_start(suite, i):
    return 256 + 16400 * i + (8192 * (i // 256) if suite == 2 else 0)


def padme(length):
    if length < 2:
        return length
    e = length.bit_length() - 1
    unit = 1 << (e - e.bit_length())
    return -(-length // unit) * unit


ATTRIBUTES = {"cache-control", "content-disposition", "content-encoding", "content-language", "content-type"}


def parse_attributes(data):
    x = parse(data, many(text(), 2, 128))
    names = [n.encode() for n in x[::2]]
    require(len(x) % 2 == 0 and names == sorted(set(names)), "attributes are out of order")
    require(all(n in ATTRIBUTES or n.startswith("meta:") and len(n) > 5 for n in x[::2]), "an attribute is unknown")
    return list(zip(x[::2], x[1::2]))


class Object:
    """`keys` are (epoch, opened, orphan, CK); `source` is a binary file; `signed`, in suite 2, is
    the object's path in the store, and who may write under an epoch."""

    def __init__(self, source, vault_id, suite, collection, keys, ledger_sequence, path, outside=None, floor=0, closed=None,
                 denied=Tampered, signed=None, floor_of_orphans=0):
        self.source, self.suite = source, suite
        stored = source.seek(0, os.SEEK_END)
        source.seek(0)
        header = source.read(256)
        fixed, frame, salt, commitment = header[:40], header[40:200], header[200:224], header[224:]
        require(len(header) == 256, "an object is cut short")
        strip_magic(fixed, b"KLO1", 40)
        require(fixed[4] in (1, 2) and fixed[5] <= 1 and fixed[6:8] == b"\0\0",
                "a suite or flag is unknown", UnsupportedFormat)
        require(fixed[4] == suite, "the suite is not the vault's")
        self.padded_length = plain_length(suite, stored)
        self.chunks = self.padded_length // CHUNK + 1
        require(self.chunks <= 1 << (38 if suite == 1 else 29), "an object is too long", LimitExceeded)
        self.padded, self.epoch, self.stamp, self.version = (
            bool(fixed[5]), *(int.from_bytes(fixed[a:b], "big") for a, b in ((8, 12), (12, 16), (16, 24))))
        require(fixed[24:] == collection, "an object of another collection")
        has_key = any(epoch == self.epoch and not orphan for epoch, _, orphan, _ in keys)
        _, since, of_orphan, _ = self.find_key(keys, path, vault_id, fixed, frame, salt, commitment,
                                               Tampered if has_key else Stale if self.stamp > ledger_sequence else denied)
        closed = [opened for epoch, opened, orphan, _ in keys if epoch > self.epoch and not orphan] + ([] if closed is None else [closed])
        if of_orphan:  # The one that the chain has in its place closes it too.
            closed += [max(opened, since + 1) for epoch, opened, orphan, _ in keys if epoch == self.epoch and not orphan]
        require(not closed or self.stamp < min(closed), "written under a closed epoch")
        require(self.epoch >= floor and (not of_orphan or not floor_of_orphans or self.epoch > floor_of_orphans),
                "the epoch is below the floor")
        require(self.stamp <= ledger_sequence, "the stamp is above the ledger", Stale)
        if suite == 2:
            self.verify(vault_id, header, *signed)
        self.read_frame(aead_open(kdf(self.mk, "meta", fixed), ZERO_NONCE, frame, fixed + salt),
                        vault_id, fixed, salt, outside)
        self.chunk(self.chunks - 1)  # the length is a claim until the last chunk was opened
        self.read_true_length()

    def verify(self, vault_id, header, stored, may_write):
        """Suite 2: the signature of a writer, before anything else counts."""
        groups = -(-self.chunks // 256)
        self.source.seek(-32 * groups - 96, os.SEEK_END)
        tail = self.source.read()
        hashes, self.writer, signature = tail[:-96], tail[-96:-64], tail[-64:]
        require(may_write(self.writer, self.epoch), "signed by nobody who may write")
        signed = (b"kluis/v1/object-sig\0" + vault_id + lp(stored.encode()) + sha256(header)
                  + u64(self.padded_length) + blake3(hashes + b"\2").digest())
        verify(self.writer, signature, signed)
        self.groups, self.leaves = [hashes[i:i + 32] for i in range(0, len(hashes), 32)], {}

    def leaf(self, i):
        """What the hash of a sealed chunk has to be."""
        group = i // 256
        if group not in self.leaves:
            behind = min(self.chunks, 256 * (group + 1))
            last = chunk_start(2, behind - 1) + min(CHUNK, self.padded_length - CHUNK * (behind - 1)) + TAG
            self.source.seek(last)
            leaves = self.source.read(32 * (behind - 256 * group))
            require(blake3(leaves + b"\1").digest() == self.groups[group], "the hashes of a group are not those that were signed")
            self.leaves[group] = leaves
        return self.leaves[group][32 * (i % 256):][:32]

    def find_key(self, keys, path, vault_id, fixed, frame, salt, commitment, error):
        context = b"kluis/v1/object\0" + vault_id + fixed + sha256(frame)
        for key in keys:
            if key[0] == self.epoch:
                self.mk = message_key(key[3], path, salt)
                try:
                    self.message = Message(self.mk, salt, context, commitment)
                    return key
                except Tampered:
                    pass
        raise error("no key of the epoch fits the commitment")

    def read_frame(self, frame, vault_id, fixed, salt, outside):
        number = lambda a, b: int.from_bytes(frame[a:b], "big")
        flags, size = frame[1], number(2, 4)
        require(frame[0] == 1 and flags < 32, "a metadata frame of a later version", UnsupportedFormat)
        require(size <= 80 and number(4, 8) < 10**9 and not any(frame[64 + size:]), "a metadata frame has not its form")
        for bit, span in ((1, frame[4:16]), (2, frame[16:24]), (4, frame[24:32]), (16, frame[32:64])):
            require(flags & bit or not any(span), "a metadata frame has a value without its flag")
        require((flags & 12 in (4, 8)) if self.padded else not flags & 12, "the padding flags are wrong")
        require(not (flags & 16 and size), "attributes both inside and outside")
        self.mtime = (int.from_bytes(frame[8:16], "big", signed=True), number(4, 8)) if flags & 1 else None
        self.expiry = number(16, 24) if flags & 2 else None
        self.at_end = bool(flags & 8)
        self.length = number(24, 32) if flags & 4 else None
        self.attributes = parse_attributes(frame[64:64 + size]) if size else []
        if flags & 16:
            require(outside is not None and sha256(outside) == frame[32:64], "attributes outside are missing or changed")
            data = open_record(kdf(self.mk, "attr", fixed), "attributes", vault_id, fixed + salt, outside)
            require(len(data) > 80, "attributes outside would fit inside")
            self.attributes = parse_attributes(data)

    def read_true_length(self):
        end = self.padded_length
        if not self.padded:
            self.length = end
        elif not self.at_end:
            require(self.length <= end and padme(self.length) == end, "the padded length is not Padmé's")
        else:
            require(end >= 8, "a padded object is cut short")
            self.length = int.from_bytes(b"".join(self.pieces(end - 8, end)), "big")
            end -= 8
            require(self.length <= end and padme(self.length + 8) == end + 8, "the padded length is not Padmé's")
        self.filler_end = end

    def chunk(self, i):
        leaf = self.leaf(i) if self.suite == 2 else None
        self.source.seek(chunk_start(self.suite, i))
        sealed = self.source.read(min(CHUNK, self.padded_length - CHUNK * i) + TAG)
        require(leaf is None or blake3(sealed + b"\0").digest() == leaf, "a chunk is not the one that was signed")
        return self.message.open(i, sealed)

    def pieces(self, start, end):
        """Bytes start..end of the padded plaintext."""
        for i in range(start // CHUNK, -(-end // CHUNK)):
            plain = self.chunk(i)
            yield plain[max(0, start - CHUNK * i):end - CHUNK * i]

    def range(self, start, end):
        end = min(end, self.length)
        return b"".join(self.pieces(start, end)) if start < end else b""

    def stream(self):
        """The content in pieces; the filler behind it is checked."""
        yield from self.pieces(0, self.length)
        for piece in self.pieces(self.length, self.filler_end):
            require(not any(piece), "the filler is not zero")


# --- 8. Recovery kit ----------------------------------------------------------------

def armored(text, label, limit):
    require(len(text.encode()) <= limit, "a text is too long", LimitExceeded)
    lines = [line.rstrip() for line in text.split("\n")]
    marks = [f"-----{word} KLUIS {label}-----" for word in ("BEGIN", "END")]
    require([line for line in lines if line in marks] == marks, "the armor is missing or damaged", InvalidInput)
    armor = "".join(lines[lines.index(marks[0]) + 1:lines.index(marks[1])])
    try:
        data = base64.b64decode(armor, validate=True)
    except ValueError:
        raise InvalidInput("not base64") from None
    require(base64.b64encode(data).decode() == armor, "not canonical base64", InvalidInput)
    return data


def read_kit(kit):
    """(header, [entry, …]) as bytes."""
    data = armored(kit, "RECOVERY KIT", 32 << 20)
    header, entries = parse(strip_magic(data, b"KLK1", 16 << 20), row(octets(), many(octets(), 1)))
    return header, entries


# --- 11. Identities and cards -------------------------------------------------------

Suite = namedtuple("Suite", "kem key enc")
SUITES = {1: Suite(0x647A, 1216, 1120), 2: Suite(0x0020, 32, 32)}


def u16(n): return n.to_bytes(2, "big")


def x25519(private, point):
    """Refuses points in a second encoding, and those with which the secret is zero."""
    require(int.from_bytes(point, "little") < P25519, "a point has a second encoding")
    try:
        return X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(point))
    except ValueError:
        raise Tampered("a point is of small order") from None


def x25519_public(private):
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def x_wing_keys(seed):
    out = hashlib.shake_256(seed).digest(96)
    return MLKEM768PrivateKey.from_seed_bytes(out[:64]), out[64:]


def sealing_key(suite, seed):
    if suite == 2:
        return x25519_public(seed)
    lattice, private = x_wing_keys(seed)
    return lattice.public_key().public_bytes_raw() + x25519_public(private)


def check_sealing_key(suite, key):
    require(len(key) == SUITES[suite].key, "a sealing key has not its length")
    if suite == 1:  # FIPS 203, section 7.2: 768 numbers of 12 bits below the modulus
        bits = int.from_bytes(key[:1152], "little")
        require(all(bits >> 12 * i & 0xFFF < 3329 for i in range(768)), "an ML-KEM key is above the modulus")
    x25519(bytes(32), key[-32:])


def export(suite, seed, enc, info):
    """Export(enc, info): HPKE in base mode, export-only."""
    require(len(enc) == SUITES[suite].enc, "what is encapsulated has not its length")
    kem, public = SUITES[suite].kem, sealing_key(suite, seed)
    if suite == 1:
        lattice, private = x_wing_keys(seed)
        secrets = lattice.decapsulate(enc[:-32]) + x25519(private, enc[-32:])
        shared = hashlib.sha3_256(secrets + enc[-32:] + public[-32:] + bytes.fromhex("5c2e2f2f5e5c")).digest()
    else:
        p = b"HPKE-v1" + b"KEM" + u16(kem)
        prk = hmac256(b"", p + b"eae_prk" + x25519(seed, enc))
        shared = expand(prk, u16(32) + p + b"shared_secret" + enc + public, 32)
    q = b"HPKE-v1" + b"HPKE" + u16(kem) + u16(1) + u16(0xFFFF)
    context = b"\0" + hmac256(b"", q + b"psk_id_hash") + hmac256(b"", q + b"info_hash" + info)
    exporter = expand(hmac256(shared, q + b"secret"), u16(32) + q + b"exp" + context, 32)
    return expand(exporter, u16(32) + q + b"sec", 32)


CARD = row(uint, octets(32), octets(), uint, many(octets(), 0, 3))
REPLACES = row(octets(16), octets(32), octets(64))


class Card:
    def __init__(self, data):
        body = strip_magic(data, b"KLC1", 2048)
        require(len(body) > 64, "a card is cut short")
        self.data, self.hash = data, sha256(data)
        self.suite, self.signing_key, self.sealing_key, self.created, replaces = parse(body[:-64], CARD)
        verify(self.signing_key, data[-64:], b"kluis/v1/card\0" + data[:-64])
        require(self.suite in SUITES, "a suite is unknown", UnsupportedFormat)
        check_sealing_key(self.suite, self.sealing_key)
        keys = u32(self.suite) + self.signing_key + self.sealing_key
        self.fingerprint, self.replaces = sha256(b"kluis/v1/fingerprint\0" + keys)[:16], replaces[:2]
        if replaces:
            REPLACES(replaces)
            older, key, signature = replaces
            verify(key, signature, b"kluis/v1/replacement\0" + older + keys)

    @property
    def words(self):
        return Mnemonic("english").to_mnemonic(self.fingerprint)


def read_card(text):
    return Card(armored(text, "CARD", 16384))


def read_fingerprint(words):
    words = words.lower().split()
    try:
        require(len(words) == 12, "a fingerprint has not 12 words", InvalidInput)
        return bytes(Mnemonic("english").to_entropy(" ".join(words)))
    except (ValueError, LookupError):
        raise InvalidInput("not a fingerprint: a word or the checksum is wrong") from None


class Identity:
    """From its secrets; the card follows from them."""

    def __init__(self, secrets):
        self.suite, signing, self.seed, created, replaces = parse(
            secrets, row(uint, octets(32), octets(32), uint, many(octets(), 0, 3)))
        require(self.suite in SUITES, "a suite is unknown", UnsupportedFormat)
        key = Ed25519PrivateKey.from_private_bytes(signing)
        body = b"KLC1" + cbor_encode([self.suite, key.public_key().public_bytes_raw(),
                                      sealing_key(self.suite, self.seed), created, replaces])
        self.secrets, self.card = secrets, Card(body + key.sign(b"kluis/v1/card\0" + body))

    def open(self, vault_id, place, sealed):
        """What was sealed to the card in this place of this vault."""
        return open_sealed(self.suite, self.card.hash, self.seed, vault_id, place, sealed)


def open_sealed(suite, card_hash, seed, vault_id, place, sealed):
    enc = SUITES[suite].enc
    info = b"kluis/v1/grant\0" + vault_id + card_hash
    return open_record(export(suite, seed, sealed[:enc], info), "grant", vault_id, place, sealed[enc:])


class IdentityFile:
    def __init__(self, text):
        data = strip_magic(armored(text, "IDENTITY", 16384), b"KLI1", 4096)
        card, self.params, self.salt, self.sealed = parse(data, row(octets(), many(uint), octets(32), octets()))
        self.card = Card(card)
        require(len(self.params) == 3, "the costs have not their form")
        check_argon2(*self.params)
        require(len(self.sealed) <= 1024, "the secrets are too long", LimitExceeded)
        require(len(self.sealed) >= 72, "the secrets are cut short")

    def open(self, password):
        key = argon2id(normalize_password(password), self.salt, *self.params)
        identity = Identity(open_record(key, "identity", bytes(16), self.card.hash, self.sealed, WrongCredentials))
        require(identity.card.data == self.card.data, "the secrets are not the card's")
        return identity


# --- 12. Grants ---------------------------------------------------------------------------

STATEMENT = row(octets(16), uint, octets(16), octets(32), octets(32), many(anything, 2, 3), TERMS, octets(32), row(uint, octets(32)),
                text(1024), octets(0, 32))
CHAIN = many(row(octets(), octets(64), octets(), octets(32)), 0, 3)
LETTER = row(octets(), octets(64), octets(), octets(32), many(anything, 2), CHAIN)
BUNDLE = row(many(octets(), 0, 65536), many(row(octets(16), octets()), 0, 65536))
GENERATIONS = row(octets(16), uint, many(row(uint32, uint, octets(32), octets(32)), 1, 65536))
KEYS = {0: row(uint, TREE), 1: row(uint, uint, octets(32)), 2: row(uint, GENERATIONS)}


class Statement:
    """Who gave whom access to what, its signature checked."""

    def __init__(self, statement, signature, card, chain_key=None):
        require(len(statement) <= 8192, "a statement is too long")
        self.grantor, self.chain_key = Card(card), chain_key
        signed = b"kluis/v1/statement\0" + statement
        verify(self.grantor.signing_key, signature, signed)
        self.hash = sha256(signed)
        (self.vault, self.suite, self.id, grantor, self.to, self.scope, self.terms, self.tree_hash, self.before, self.stored,
         self.above) = parse(statement, STATEMENT)
        require(grantor == self.grantor.hash, "signed by another than it says")
        require(self.suite in (1, 2), "a suite is unknown", UnsupportedFormat)
        require(len(check_scope(self.scope)) <= 1, "a name is not a segment")
        check_terms(self.terms)

    def allows(self, other):
        """Section 12, Giving on."""
        follows = other.before[0] > self.before[0] - (self.above != b"")
        require((self.vault, self.suite, self.to) == (other.vault, other.suite, other.grantor.hash) and follows,
                "a statement does not hang below this one")
        rights, begin, end, _ = self.terms
        its_rights, its_begin, its_end, _ = other.terms
        is_version = other.scope[0] == 2
        if self.scope[0] == 0 and other.stored != self.stored:
            within = other.stored.startswith(self.stored + "/") and bool(other.scope[1])
        else:
            as_object = self.scope[0] == 1 and is_version and self.scope[1] == other.scope[1]
            within = other.stored == self.stored and (self.scope == other.scope or as_object)
        past = its_rights & 5 == 0 if is_version else its_rights & 4 == rights & 4
        require(rights & 2 and (rights & 1 or not its_rights & 1) and past and its_begin >= begin
                and (not end or 0 < its_end <= end) and within, "wider than what was given", AccessDenied)


class Letter:
    """What a letter says, its signatures checked."""

    def __init__(self, data, vault_id, grantee):
        statement, signature, card, self.mailbox, self.keys, chain = parse(data, LETTER)
        require(self.keys[0] in KEYS, "there are no such keys")
        KEYS[self.keys[0]](self.keys)
        self.chain = [Statement(*above) for above in chain]
        self.statement = own = Statement(statement, signature, card)
        require((own.vault, own.to) == (vault_id, grantee), "a letter of another grant")
        self.grantor, self.suite, self.id, self.scope = own.grantor, own.suite, own.id, own.scope
        self.statement_hash, self.tree_hash, self.before = own.hash, own.tree_hash, own.before
        whole = [*self.chain, own]
        require(whole[0].above == b"", "the owner's statement is not in the chain")
        for above, below in zip(whole, whole[1:]):
            require(below.above == above.hash, "a chain has a gap")
            above.allows(below)

    def tree(self, encoded, is_group):
        require(sha256(cbor_encode(encoded)) == self.tree_hash, "a tree is not the one that was signed")
        if is_group:
            group, suite, generations = encoded
            require(suite in SUITES, "a suite is unknown", UnsupportedFormat)
            require(all(a[0] < b[0] and a[1] <= b[1] for a, b in zip(generations, generations[1:])),
                    "generations are out of order")
            require(self.scope[:2] == [3, group], "generations of something else")
            require(self.statement.stored == "o", "a group lies nowhere")
            tree = Tree("o", [0, bytes(32)])
            tree.add(Collection(group, "", 0, 0, [], [[number, opened, 0, seed] for number, opened, seed, _ in generations]))
            return tree
        tree = Tree(*encoded)
        require(tree.is_of(self.scope), "a tree of something else")
        require(tree.at(()) is not None and tree.top == self.statement.stored, "a tree without its top")
        return tree


class Share:
    """A grant in the hands of its grantee. Who the grantor is, the caller compares. With a membership in a group in
    place of the identity, a grant to the group."""

    def __init__(self, holder, vault_id, name, record):
        self.vault_id, self.through, self.identity = vault_id, None, None
        sealed = strip_magic(record, b"KLG1", 16 << 20)
        if isinstance(holder, Share):
            _, suite, self.through = holder.generations
            for _, _, seed, self.card_hash in reversed(self.through):
                try:
                    opened = open_sealed(suite, self.card_hash, seed, vault_id, name, sealed)
                    break
                except Tampered:
                    pass
            else:
                raise Tampered("not sealed to the group in any generation")
        else:
            self.identity, self.card_hash = holder, holder.card.hash
            opened = holder.open(vault_id, name, sealed)
        self.letter = Letter(opened, vault_id, self.card_hash)
        require(self.letter.keys[0] in ((0,) if self.through else (0, 2)), "a first letter has its keys inside")
        self.generations = self.letter.keys[1] if self.letter.keys[0] == 2 else None
        self.tree = self.letter.tree(self.letter.keys[1], self.generations is not None)
        require(not (self.through and self.letter.chain), "nothing is given on to a group")
        self.first, self.chain = self.letter, self.letter.chain
        if self.chain:  # It was the giver's choice.
            self.letter.mailbox = kdf(self.letter.mailbox, "given-on", vault_id, self.letter.statement_hash)
        self.head = self.chain[0].before if self.chain else self.letter.before
        self.filed, self.known, self.fallen, self.awaited = False, False, False, None
        self.tree.unfiled = self.is_unfiled

    def follow(self, entry):
        """The next entry. Where `awaited` is set then, `renew` comes before the one after it."""
        require(entry.sequence == self.head[0] + 1 and entry.previous == self.head[1], "an entry does not follow")
        self.hear(entry)
        if entry.sequence <= self.first.before[0]:
            require(self.filed, "the ledger does not hold the grant at the top", AccessDenied)
            require(entry.sequence < self.first.before[0] or entry.hash == self.first.before[1], "given on in another ledger")
            self.head = [entry.sequence, entry.hash]
            return
        if self.hear_filed(entry):
            self.head = [entry.sequence, entry.hash]
            return
        news, (label, notice) = [], self.as_holder()
        for i, (audience, sealed) in enumerate(entry.parts):
            if audience == [2, label]:
                actions = parse_actions(entry.part(notice, i, sealed))
                require(all(action[0] in (4, 8, 9, 10, 11, 18) for action in actions), "an action is not for holders of an object")
                news += [(self.tree.at(()), action) for action in actions]
            if label:
                continue
            collection = self.tree.collections.get(audience[1]) if audience[0] == 1 else None
            if collection is None or not collection.is_written:
                continue
            for ck in [e[3] for e in collection.chain if e[0] == audience[2]]:
                key = kdf(ck, "notice", self.vault_id)
                is_last = audience[2] == collection.chain[-1][0]  # who came with the entry that closes it has the next
                news += [(collection, action) for action in parse_actions(entry.part(key, i, sealed)) if action[0] != 10 or is_last]
        require(label or all(action[0] in (1, 2, 4, 9, 10, 11, 18) for _, action in news), "an action is not for holders")
        self.known = self.known or [9, self.first.statement_hash] in [action for _, action in news]
        self.filed = self.filed or self.known and not self.chain
        require(self.filed, "the ledger does not hold this grant", AccessDenied)
        for collection, action in news:
            if action[0] == 10:
                require(action[1] == collection.id, "a part closes another collection")
                collection.closed = entry.sequence
                if action[2]:
                    self.awaited = entry.sequence, action[2]
            if action[0] == 8:
                require(action[1] == self.letter.id, "another grant is taken back")
                collection.closed = entry.sequence
        for collection, action in news:
            known = self.tree.collections.get(action[1])
            if action[0] == 1 and known is None:
                mount = "/".join([*collection.mount, action[2]])
                self.tree.apply(entry.sequence, [*action[:2], mount, *action[3:]])
            elif action[0] == 11:
                added, removed = action[2:]
                if known:
                    added = [key for key in added if not known.still_writes(key)]
                    removed = [key for key in removed if known.still_writes(key)]
                self.tree.apply(entry.sequence, [*action[:2], added, removed])
            elif action[0] in (4, 18) or action[0] == 2 and not (known and known.chain[-1][0] >= action[2]):
                self.tree.apply(entry.sequence, action)
        self.tree.unfiled, self.head = self.is_unfiled, [entry.sequence, entry.hash]

    def hear(self, entry):
        """What is said to everybody below the grants of the chain."""
        for above in self.chain:
            label = kdf(above.chain_key, "holder", self.vault_id)[:16]
            notice = kdf(above.chain_key, "notice", self.vault_id)
            for i, (audience, sealed) in enumerate(entry.parts):
                for action in parse_actions(entry.part(notice, i, sealed)) if audience == [2, label] else ():
                    require(action[0] in (8, 9, 10), "an action is not for those below")
                    if action == [9, self.chain[0].hash]:
                        self.filed = True
                    if action[0] == 8:
                        require(action[1] in [x.id for x in self.chain], "another grant is taken back")
                        self.fallen = True
                    collection = self.tree.collections.get(action[1])
                    is_later = entry.sequence > self.first.before[0] and self.tree.of[0] != 2
                    if action[0] == 10 and is_later and collection and collection.is_written:
                        collection.closed = entry.sequence
                        if action[2]:
                            self.awaited = entry.sequence, action[2]

    def hear_filed(self, entry):
        """What is said to who has a folder or object by another's word: that it is filed, and where the owner's letter is."""
        if not self.is_unfiled or self.tree.of[0] == 2:
            return False
        label = kdf(self.letter.mailbox, "holder", self.vault_id)[:16]
        notice = kdf(self.letter.mailbox, "notice", self.vault_id)
        for i, (audience, sealed) in enumerate(entry.parts):
            for action in parse_actions(entry.part(notice, i, sealed)) if audience == [2, label] else ():
                require(action == [9, self.first.statement_hash] or action[0] == 10 and action[2],
                        "an action is not for who waits to be filed")
                if action[0] == 9:
                    self.known = True
                    continue
                self.awaited = entry.sequence, action[2]
                for collection in self.tree.collections.values():
                    collection.closed = entry.sequence
        return self.known

    def as_holder(self):
        """Where parts for who holds one object or version stand, and their key; nothing for a folder."""
        if self.tree.object is None:
            return None, None
        key = self.tree.at(()).chain[-1][3] if self.tree.of[0] == 1 else self.letter.mailbox
        return kdf(key, "holder", self.vault_id)[:16], kdf(key, "notice", self.vault_id)

    @property
    def has_ended(self): return self.fallen or self.tree.at(()).closed is not None

    @property
    def is_unfiled(self): return bool(self.chain) and not self.known

    def renew(self, record):
        """Takes the keys that follow from the bundle; False if there are none."""
        sequence, digest = self.awaited
        require(sha256(record) == digest, "another bundle than the ledger names")
        rings, letters = parse(strip_magic(record, b"KLB1", 64 << 20), BUNDLE)
        labels = [label for label, _ in letters]
        require(labels == sorted(set(labels)), "letters are out of order")
        mailbox, place, self.awaited = self.letter.mailbox, u64(sequence), None
        if self.through:
            seed = [seed for _, opened, seed, _ in self.through if opened <= sequence][-1]
            mailbox = kdf(seed, "group-mailbox", self.vault_id, mailbox)
        label = kdf(mailbox, "letter-label", self.vault_id, place)[:16]
        if label not in labels:
            return False
        key = kdf(mailbox, "letter-key", self.vault_id)
        sealed = letters[labels.index(label)][1]
        try:
            opened = open_record(key, "letter", self.vault_id, place, sealed)
        except Tampered:
            require(self.identity, "a letter to a group is not for a card")
            opened = self.identity.open(self.vault_id, label + place, sealed)
        letter = Letter(opened, self.vault_id, self.card_hash)
        require(letter.id == self.letter.id and letter.before[0] + 1 == sequence and not letter.chain,
                "a letter of another grant or entry")
        encoded, is_group = letter.keys[1], self.generations is not None
        require(letter.keys[0] in (2 * is_group, 1), "keys of another kind")
        if letter.keys[0] == 1:
            require(letter.keys[1] < len(rings), "there is no such ring")
            ring = open_record(letter.keys[2], "ring", self.vault_id, place, rings[letter.keys[1]])
            encoded = parse(ring, GENERATIONS if is_group else TREE)
        self.letter, self.tree = letter, letter.tree(encoded, is_group)
        self.generations = encoded if is_group else None
        self.known = True
        return True

    def open(self, source, path, outside=None):
        return self.tree.open(source, self.vault_id, self.letter.suite, self.head[0], path, outside)


class GrantFile:
    """What `share --out` writes: an invitation, the first letter, and for the owner what somebody gave on."""

    def __init__(self, text_):
        data = strip_magic(armored(text_, "GRANT", 24 << 20), b"KLF1", (16 << 20) + 65536 + 4096 + 128)
        shape = row(text(4096), octets(16), octets(16), octets(16), octets(), octets())
        self.address, self.vault_id, self.letter_name, self.grantor, self.letter, self.part = parse(data, shape)
        require(len(self.part) <= 65536, "an owner's part is too long")
        require(self.address and not any(unicodedata.category(c) == "Cc" for c in self.address),
                "an address is empty or has control characters")
        require(self.letter, "a grant without a letter")

    def owners_part(self, owner, vault_id):
        """What it says to the owner: the statement, whom it is for, and where below what the grantor has."""
        require(self.part and self.vault_id == vault_id, "nothing for this owner")
        opened = owner.open(vault_id, self.letter_name + b"copy", self.part)
        shape = row(octets(), octets(64), octets(), text(255), octets(), octets(32), text())
        statement, signature, card, name, grantee, mailbox, place = parse(opened, shape)
        statement, grantee = Statement(statement, signature, card), Card(grantee)
        require(name and is_control_free(name) and statement.to == grantee.hash and statement.vault == vault_id
                and statement.grantor.fingerprint == self.grantor, "an owner's part of another grant")
        return statement, name, grantee, mailbox, place


# --- 13. Links ----------------------------------------------------------------------------

LINK_BODY = row(octets(16), anything, octets(16), LOCK, octets())
LINK_CONTENT = row(uint, octets(16), many(anything, 2, 3), TERMS, TREE, row(uint, octets(32)),
                   many(row(text(1024), uint, text(4096)), 0, 10000))


class Link:
    """What stands behind the # in a URL, and the record that it leads to."""

    def __init__(self, fragment):
        require(re.fullmatch("[A-Za-z0-9_-]{1,200}", fragment), "not a link", InvalidInput)
        try:
            data = base64.urlsafe_b64decode(fragment + "=" * (-len(fragment) % 4))
        except ValueError:
            raise InvalidInput("not a link") from None
        require(base64.urlsafe_b64encode(data).decode().rstrip("=") == fragment, "not a link", InvalidInput)
        require(len(data) >= 49, "not a whole link", InvalidInput)
        require(data[:1] == b"\x01", "a link of another version", UnsupportedFormat)
        require(len(data) == 49, "more than a link", InvalidInput)
        self.secret, self.vault_id = data[1:33], data[33:]
        self.name = kdf(self.secret, "link-name", self.vault_id)[:16]

    def read(self, record):
        """The record, its signature checked; then `unlock`."""
        body = strip_magic(record, b"KLL1", 32 << 20)
        require(len(body) > 64, "a record is cut short")
        start = parse(body[:-64], many(anything, 2))
        require(start[0] == self.vault_id, "a link of another vault")
        AUTHORITIES(start[1])
        authority = check_authorities(start[1], self.vault_id)
        verify(authority, record[-64:], b"kluis/v1/link\0" + record[:-64])
        LINK_BODY(start)
        _, _, name, self.lock, self.sealed = start
        require(name == self.name, "the record of another link")
        if self.lock:
            check_argon2(*self.lock[0])
        return self

    def unlock(self, password=None):
        k, error = self.secret, Tampered
        if self.lock:
            require(password is not None, "it takes a password", WrongCredentials)
            stretched = argon2id(normalize_password(password), self.lock[1], *self.lock[0])
            k, error = hmac256(stretched, self.secret), WrongCredentials
        key = kdf(k, "link-key", self.vault_id)
        content = open_record(key, "link", self.vault_id, self.name, self.sealed, error)
        self.suite, self.id, self.scope, terms, tree, self.head, self.objects = parse(content, LINK_CONTENT)
        require(self.suite in (1, 2), "a suite is unknown", UnsupportedFormat)
        require(len(check_link_scope(self.scope)) <= 1, "a name is not a segment")
        check_terms(terms)
        require(terms[0] == 0 and terms[1] == 0, "a link gives more than reading")
        self.end, self.purpose = terms[2:]
        self.tree = Tree(*tree)
        require(self.tree.is_of(self.scope), "a tree of something else")
        require(self.tree.at(()) is not None, "a tree without its top")
        paths = [path for path, _, _ in self.objects]
        require(paths == sorted(set(paths), key=str.encode), "objects are out of order")
        return self

    def open(self, source, path, outside=None):
        # The ledger is not read: a stamp says nothing where the key is at hand.
        try:
            return self.tree.open(source, self.vault_id, self.suite, 2**32 - 1, path, outside)
        except Tampered:
            source.seek(12)
            require(int.from_bytes(source.read(4), "big") <= self.head[0] or self.has_key(source, path),
                    "the record is behind", Stale)
            raise

    def has_key(self, source, path):
        source.seek(8)
        epoch, cid = int.from_bytes(source.read(4), "big"), (source.seek(24), source.read(16))[1]
        collection = self.tree.collections.get(cid)
        return collection is not None and any(e[0] == epoch and not e[2] for e in collection.epochs)


# --- 2. The store, and the vault in it --------------------------------------------------

class Folder:
    """A vault's prefix in a local folder."""

    def __init__(self, root):
        self.root = Path(root)

    def get(self, path):
        try:
            return (self.root / path).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, path):
        try:
            return sorted(os.listdir(self.root / path))
        except (FileNotFoundError, NotADirectoryError):
            return []


class Vault:
    def __init__(self, root, credential, vault_id=None):
        self.store = Folder(root)
        self.header = h = choose_header(self.store, vault_id)
        self.root_key = h.unlock(credential)
        _, _, owner_keys, _ = h.secrets(self.root_key)
        self.ledger = Ledger(self.store, h.vault_id, h.authorities, owner_keys,
                             (h.sequence, h.hash, h.ledger_sequence, h.ledger_hash))
        self.tree = self.ledger.tree
        self.foreign = 0

    def walk(self, folder=(), stored="o"):
        """(path as a tuple of segments, stored path) of every object, sorted by stored name."""
        name_key = self.tree.name_key(folder)
        for name in self.store.names(stored):
            if is_full_name(name):
                continue
            here = f"{stored}/{name}"
            full = self.store.get(here + "~") if name.startswith("~") else None
            segment = open_segment(name_key, name, full)
            if segment is None:
                self.foreign += 1
            elif (self.store.root / here).is_dir():
                yield from self.walk(folder + (segment,), here)
            else:
                yield folder + (segment,), here

    def open(self, path, stored=None, outside=None):
        """The object under a path, a tuple of segments. Close its `source`."""
        source = open(self.store.root / (stored or self.tree.stored_path(path)), "rb")
        try:
            return self.tree.open(source, self.header.vault_id, self.header.suite, self.ledger.last.sequence, path, outside)
        except BaseException:
            source.close()
            raise

    def extract(self, dest):
        """Writes the whole tree, with the modification times. Gives the number of objects."""
        count = 0
        for count, (path, stored) in enumerate(self.walk(), 1):
            target = Path(dest).joinpath(*path)
            target.parent.mkdir(parents=True, exist_ok=True)
            obj = self.open(path, stored)
            with obj.source, open(target, "xb") as out:
                for piece in obj.stream():
                    out.write(piece)
            if obj.mtime is not None:
                nanoseconds = obj.mtime[0] * 10**9 + obj.mtime[1]
                os.utime(target, ns=(nanoseconds, nanoseconds))
        return count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vault", metavar="VAULT_DIR")
    parser.add_argument("--password-file", help="exactly one trailing newline is stripped")
    parser.add_argument("--keyfile")
    parser.add_argument("--phrase-file", help="24 words, instead of a password")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("ls", help="every path, one a line")
    verbs.add_parser("cat", help="one object to standard output").add_argument("path")
    verbs.add_parser("extract", help="the whole tree into a folder").add_argument("dest")
    args = parser.parse_args()
    if bool(args.password_file) == bool(args.phrase_file):
        parser.error("one of --password-file and --phrase-file is needed")
    try:
        if args.phrase_file:
            credential = Credential.phrase(Path(args.phrase_file).read_text())
        else:
            keyfile = Path(args.keyfile).read_bytes() if args.keyfile else None
            credential = Credential.password(Path(args.password_file).read_bytes().removesuffix(b"\n"), keyfile)
        vault = Vault(args.vault, credential)
        if args.verb == "ls":
            for path in sorted("/".join(path) for path, _ in vault.walk()):
                print(path)
        elif args.verb == "cat":
            obj = vault.open(tuple(args.path.split("/")))
            with obj.source:
                for piece in obj.stream():
                    sys.stdout.buffer.write(piece)
        else:
            print(f"{vault.extract(args.dest)} objects", file=sys.stderr)
        if vault.foreign:
            print(f"{vault.foreign} foreign names were passed over", file=sys.stderr)
    except KluisError as e:
        sys.exit(f"{type(e).__name__}: {e}")


if __name__ == "__main__":
    main()
