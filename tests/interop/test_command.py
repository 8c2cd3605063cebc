"""Vaults made in this run by the real command ($KLUIS_BIN), read back bit for bit."""

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
