"""Vaults made in this run by the real command ($KLUIS_BIN), read back bit for bit."""

import contextlib
import functools
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import kluis_reader as k
from harness import refuses, test

READER = Path(__file__).parent / "kluis_reader.py"
PASSWORD = "pa\u0308ss wo\u00a0rd ü".encode()


def make_tree(root):
    """Awkward names, sizes around chunk borders, a few MiB, and times with nanoseconds."""
    rng = random.Random(1)
    names = ["empty", "a b", " leading and trailing ", "été/Ω/日本語.txt", "e\u0301te\u0301", "tilde~", "~", "100%25", "c:\\d", "-dash",
             "#1", "*?[x]", "🦀" * 40, "n" * 127, "n" * 128, "é" * 100 + "/" + "ü" * 120 + "/deep", "." * 3, "...hidden", "KLO1"]
    sizes = [0, 1, 15, 16, 17, 16383, 16384, 16385, 32768, 49152, 50000, 3 * 1024 * 1024 + 5]
    files = {name: rng.randrange(2000) for name in names[1:]} | {"empty": 0} | {f"sizes/{n}": n for n in sizes}
    for i, (name, size) in enumerate(files.items()):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
        moment = (1_700_000_000 + i) * 10**9 + 123_456_789 + i
        os.utime(path, ns=(moment, moment))
    old = -(10**9) * 86_400 + 1  # one nanosecond after a moment before 1970
    os.utime(root / "empty", ns=(old, old))


def tree(root):
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def run():
    if not os.environ.get("KLUIS_BIN"):
        print("KLUIS_BIN is not set: no vault of the real command is read", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as temporary:
        Session(Path(temporary)).run()


class Session:
    def __init__(self, home):
        self.home, self.source = home, home / "source"
        make_tree(self.source)
        self.password = home / "password"
        self.password.write_bytes(PASSWORD + b"\n")

    def kluis(self, vault, *args):
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KLUIS_VAULT": str(self.home / vault),
                       "KLUIS_PASSWORD_FILE": str(self.password)}
        done = subprocess.run([os.environ["KLUIS_BIN"], *map(str, args)], env=environment, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=300)
        assert done.returncode == 0, f"{args}: exit {done.returncode}: {done.stderr.decode()}"
        return done.stdout.decode()

    def make(self, vault, *init):
        self.kluis(vault, "init", *init)
        keyfile = init[init.index("--keyfile"):][:2] if "--keyfile" in init else ()
        self.kluis(vault, "cp", "-r", *keyfile, self.source, ":")

    def read(self, vault, *args):
        done = subprocess.run([sys.executable, READER, self.home / vault, *map(str, args)], capture_output=True)
        assert done.returncode == 0, done.stderr.decode()
        assert b"foreign" not in done.stderr, done.stderr.decode()
        return done.stdout

    def compare(self, vault, *credential):
        self.read(vault, *credential, "extract", self.home / f"{vault}.out")
        actual, expected = tree(self.home / f"{vault}.out"), tree(self.source)
        assert actual.keys() == expected.keys(), actual.keys() ^ expected.keys()
        for name in expected:
            assert actual[name] == expected[name], f"{name!r} differs"

    def run(self):
        by_password = ("--password-file", self.password)
        with test("command: a vault"):
            self.make("plain")
            self.compare("plain", *by_password)
        with test("command: ls and cat"):
            assert self.read("plain", *by_password, "ls").decode().splitlines() == sorted(tree(self.source))
            name = "sizes/16385"
            assert self.read("plain", *by_password, "cat", name) == (self.source / name).read_bytes()
        with test("command: no name and no content in the store"):
            stored = b"".join(p.read_bytes() + str(p).encode() for p in (self.home / "plain").rglob("*") if p.is_file())
            big = (self.source / "sizes/50000").read_bytes()
            assert b"sizes" not in stored and "日本語".encode() not in stored and big[20000:20032] not in stored
        with test("command: a wrong password"), refuses(k.WrongCredentials):
            k.Vault(self.home / "plain", k.Credential.password(b"wrong"))
        with test("command: a flipped bit"):
            vault = k.Vault(self.home / "plain", k.Credential.password(PASSWORD))
            path, stored = next(x for x in vault.walk() if x[0] == ("sizes", "16385"))
            target = self.home / "plain" / stored
            data = bytearray(target.read_bytes())
            data[-1] ^= 1
            target.write_bytes(data)
            with refuses(k.Tampered):
                vault.open(path, stored)
            data[-1] ^= 1
            target.write_bytes(data)
        with test("command: a padded vault"):
            self.make("padded", "--padded")
            self.compare("padded", *by_password)
            vault = k.Vault(self.home / "padded", k.Credential.password(PASSWORD))
            for path, stored in vault.walk():
                obj = vault.open(path, stored)
                with obj.source:
                    assert obj.padded, path
        with test("command: a signed vault"):
            big = self.source / "two groups"
            big.write_bytes(random.Random(2).randbytes((5 << 20) + 3))
            self.make("signed", "--signed")
            self.compare("signed", *by_password)
            vault = k.Vault(self.home / "signed", k.Credential.password(PASSWORD))
            path, stored = next(x for x in vault.walk() if x[0] == ("two groups",))
            target = self.home / "signed" / stored
            for at in (-1, -80, -100, -160, 256 + 300 * 16400 + 8192, 256 + 256 * 16400 + 5):
                data = bytearray(target.read_bytes())
                data[at] ^= 1
                target.write_bytes(data)
                with refuses(k.Tampered):
                    obj = vault.open(path, stored)
                    with obj.source:
                        for _ in obj.stream():
                            pass
                data[at] ^= 1
                target.write_bytes(data)
            big.unlink()
        with test("command: a keyfile vault"):
            keyfile = self.home / "keyfile"
            keyfile.write_bytes(bytes(range(32)))
            self.make("keyfile-vault", "--keyfile", keyfile)
            self.compare("keyfile-vault", *by_password, "--keyfile", keyfile)
        with test("command: a recovery phrase"):
            phrase = self.home / "phrase"
            phrase.write_text(find_phrase(self.kluis("plain", "key", "add", "--new-recovery-phrase")))
            (self.home / "plain.out").rename(self.home / "first.out")
            self.compare("plain", "--phrase-file", phrase)
        with test("command: a recovery kit"):
            self.kluis("plain", "recovery", "export", self.home / "kit")
            header, entries = k.read_kit((self.home / "kit").read_text())
            vault = k.Vault(self.home / "plain", k.Credential.password(PASSWORD))
            assert k.sha256(header) == vault.header.hash and entries == [e.data for e in vault.ledger.entries]
        with test("command: a new password"):
            new = self.home / "new"
            new.write_bytes(b"another one entirely\n")
            self.kluis("plain", "passwd", "--new-password-file", new)
            k.Vault(self.home / "plain", k.Credential.password(b"another one entirely"))
            with refuses(k.WrongCredentials):
                k.Vault(self.home / "plain", k.Credential.password(PASSWORD))
        with test("command: all keys of who was revoked on all that came since"):
            self.f12_no_key_of_the_revoked_opens_what_came_since()

    def f12_no_key_of_the_revoked_opens_what_came_since(self):
        """Bob's keys out of every letter that he got, whatever his client would do with them."""
        kluis = functools.partial(self.kluis, "shared")
        root = self.home / "shared"
        kluis("init")
        for name in ("bob", "eve"):
            words = kluis("identity", "new", self.home / f"{name}.id").split()
            kluis("identity", "export", "--identity", self.home / f"{name}.id", "--out", self.home / f"{name}.card")
            kluis("contact", "add", name, self.home / f"{name}.card")
            kluis("contact", "verify", name, *words)
        bob = k.IdentityFile((self.home / "bob.id").read_text()).open(PASSWORD)

        def put(*paths):
            for path in paths:
                (self.home / "content").write_text(f"{path} {random.random()}")
                kluis("cp", "--overwrite", self.home / "content", f":{path}")

        def grants(): return [json.loads(line) for line in kluis("shares", "--json").splitlines()]

        def owner(): return k.Vault(root, k.Credential.password(PASSWORD))

        def held():
            """From each letter, as far along the ledger as it leads."""
            entries, records, keys = owner().ledger.entries, [p.read_bytes() for p in (root / "k/g").iterdir()], set()
            for file in self.home.glob("*.grant"):
                grant = k.GrantFile(file.read_text())
                share = k.Share(bob, grant.vault_id, grant.letter_name, grant.letter)
                for entry in [None, *(e for e in entries if e.sequence > share.head[0])]:
                    if entry:
                        share.follow(entry)
                    if share.awaited:
                        share.renew(next(r for r in records if k.sha256(r) == share.awaited[1]))
                    keys |= {epoch[3] for collection in share.tree.collections.values() for epoch in collection.epochs}
            return keys

        def opened(keys):
            """What is there now, by its path, and what of it opens with any of these keys, as any part of the path."""
            vault, found, there = owner(), set(), {}
            for path, stored in vault.walk():
                there["/".join(path)] = data = (root / stored).read_bytes()
                fixed, frame, salt, commitment = data[:40], data[40:200], data[200:224], data[224:256]
                context = b"kluis/v1/object\0" + vault.header.vault_id + fixed + k.sha256(frame)
                for key, below in itertools.product(keys, [None, *(path[i:] for i in range(len(path) + 1))]):
                    with contextlib.suppress(k.Tampered):
                        k.Message(k.message_key(key, below, salt), salt, context, commitment)
                        found.add("/".join(path))
            return there, found

        put("docs/a", "docs/in/b", "docs/old", "top")
        kluis("share", "docs", "eve")
        for i, what in enumerate((["docs/in", "--write"], ["docs", "--write"], ["docs/a"], ["docs/old", "--version"], [":", "--yes"])):
            kluis("share", *what, "bob", "--out", self.home / f"{i}.grant")
        put("docs/in/c")
        kluis("revoke", *(g["id"] for g in grants() if g["to"] == "eve"), "--yes")  # what follows comes to Bob in a bundle
        put("docs/d", "late")
        keys = held()
        before, found = opened(keys)
        assert found == before.keys() and len(found) == 7, (found, before.keys())
        kluis("revoke", *(g["id"] for g in grants()), "--yes")
        put("docs/a", "docs/new", "docs/in/new", "docs/in/b", "top", "elsewhere/x")
        keys |= held()
        after, found = opened(keys)
        since = {path for path in after if after[path] != before.get(path)}
        assert len(since) == 6 and not found & since, (since, found)
        assert found == after.keys() - since, "his keys are no less than they were"
        receipt = json.loads(kluis("reencrypt", "--dry-run", "--json").splitlines()[-1])
        assert (receipt["items"], receipt["failed"]) == (len(found), 0), receipt
        assert receipt["bytes"] == sum(len(after[path]) - 272 for path in found), receipt
        kluis("reencrypt")
        keys |= held()
        assert opened(keys)[1] == set()


def find_phrase(text):
    """24 words in a row that are a recovery phrase, numbered or not, on one line or several."""
    words = [w for w in text.split() if w.isalpha() and w.islower()]
    for i in range(len(words) - 23):
        phrase = " ".join(words[i:i + 24])
        try:
            k.phrase_entropy(phrase)
            return phrase
        except k.InvalidInput:
            pass
    raise AssertionError(f"no recovery phrase in {text!r}")
