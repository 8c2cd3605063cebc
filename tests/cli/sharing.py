"""Owner, reader and writer, each a process with a home and credentials of their own."""

import csv
import io
import json
import os
import re
import shutil
import stat
import subprocess
import time

from harness import KLUIS, S3, Terminal, golden, test, test_on_each_store

HANDING_OVER = "hint: hand the invitation over on a way that the provider does not control"
READ_RESTS_ON = ("kluis: this vault is not signed: that a reader does not write rests on the store's credentials "
                 "alone, so give ones that cannot write")
WRITE_RESTS_ON = ("kluis: this vault is not signed: whoever may read could also compute what a writer writes, so that "
                  "only the store's credentials tell readers from writers")
TAKEN_BACK = ("kluis: taken back: what is written from now on, by clients that know of it, is out of reach; what was "
              "written before stays readable to whoever has kept the keys and gets at the bytes, until it is written again; hint: end their "
              "credentials of the store too, and give the pin above to programs that keep no state")


class Person:
    """Somebody else than the owner: another home, an identity, and on S3 another user."""

    def __init__(self, w, name, *options):
        self.w, self.name = w, name
        home = w.path(f"home-{name}")
        home.mkdir()
        w.write(f"{name}.password", f"the password of {name}\n")
        self.env = {"HOME": str(home), "KLUIS_PASSWORD_FILE": str(w.path(f"{name}.password")), "KLUIS_VAULT": None,
                    "KLUIS_IDENTITY": str(w.path(f"{name}.id"))}
        made = self.kluis("identity", "new", f"{name}.id", *options, env={"KLUIS_IDENTITY": None})
        self.words = made.out.strip()
        w.known[self.words] = f"WORDS-OF-{name.upper()}"
        self.kluis("identity", "export", "--out", f"{name}.card")

    def kluis(self, *args, env=None, **kwargs):
        return self.w.kluis(*args, env={**self.env, **(env or {})}, **kwargs)

    def is_contact(self):
        self.w.kluis("contact", "add", self.name, f"{self.name}.card")
        self.w.kluis("contact", "verify", self.name, *self.words.split())
        return self

    def accept(self, invitation, *args, **kwargs):
        done = self.kluis("accept", invitation, "--yes", *args, **kwargs)
        self.env["KLUIS_VAULT"] = self.w.url
        return done

    def has_own_credentials(self):
        self.env["AWS_ACCESS_KEY_ID"] = os.environ["KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID"]
        self.env["AWS_SECRET_ACCESS_KEY"] = os.environ["KLUIS_TEST_S3_OTHER_SECRET_ACCESS_KEY"]


def own_words(w):
    words = w.kluis("identity", "show").out.strip()
    w.known[words] = "WORDS-OF-THE-OWNER"
    w.known[w.url] = "$VAULT"
    return words


@test
def an_identity_is_a_file_under_a_password(w):
    done = w.kluis("identity", "new", "me.id")
    assert re.fullmatch(r"([a-z]+ ){11}[a-z]+\n", done.out), done.out
    w.known[done.out.strip()] = "WORDS"
    golden(done, out="WORDS", err="""
kluis: the identity is ready; hint: keep a copy of the file, nobody can make it again; give others the card of `kluis identity export`, and read these words to them
""")
    assert stat.S_IMODE(w.path("me.id").stat().st_mode) == 0o600
    before = w.read("me.id")
    golden(w.kluis("identity", "new", "me.id", code=14), err="""
kluis: me.id: the file exists already; hint: choose another name
""")
    assert w.read("me.id") == before
    # Its public half needs no password.
    none = {"KLUIS_PASSWORD_FILE": None}
    golden(w.kluis("identity", "show", "me.id", env=none), out="WORDS")
    golden(w.kluis("identity", "show", env={**none, "KLUIS_IDENTITY": "me.id"}), out="WORDS")
    golden(w.kluis("identity", "show", "--identity", "me.id", "--json", env=none), out="""
{"message_type":"identity","fingerprint":"WORDS","suite":"x-wing","created":"TIME"}
""")
    card = w.kluis("identity", "export", "me.id", env=none).out
    assert card.startswith("-----BEGIN KLUIS CARD-----\n"), card
    golden(w.kluis("identity", "export", "me.id", "--out", "me.card", env=none), err="""
kluis: the card was written to me.card; hint: read the words of `kluis identity show` to whoever gets it
""")
    assert w.read("me.card").decode() == card
    w.kluis("identity", "export", "me.id", "--out", "me.card", code=14)
    assert w.kluis("identity", "export", "me.id", "--out", "-", env=none).out == card
    (exported,) = w.kluis("identity", "export", "me.id", "--json").json()
    assert exported["card"] == card
    golden(w.kluis("identity", "show", "me.card", env=none), out="WORDS")
    first = card.splitlines()[1]
    for damaged, code in ((card.replace(first, first[:-8] + "A" * 8), 13), ("nothing", 2), ("", 2), (card + card, 2)):
        w.write("damaged", damaged)
        w.kluis("identity", "show", "damaged", code=code)
        w.kluis("contact", "add", "x", "damaged", "--vault", "./nothing", code=code)
    # X25519 alone is said loudly.
    assert "quantum" in w.kluis("identity", "new", "old.id", "--classical", "-q").err
    assert w.kluis("identity", "show", "old.id", "--json").json()[0]["suite"] == "x25519"
    for wrong in ("--keyfile", "--recovery-phrase-file", "--identity"):
        w.kluis("identity", "new", "other.id", wrong, "me.id", code=2)
    w.kluis("identity", "new", "other.id", env=none, code=2)
    assert not w.path("other.id").exists()
    # The vault's own card is another one.
    w.new_vault()
    own_words(w)
    golden(w.kluis("identity", "show"), out="WORDS-OF-THE-OWNER")
    t = Terminal(w, "identity", "show", "me.id")
    seen = t.end(0)
    assert seen.count("\u2588") > 100 and done.out.strip() in seen, seen


@test
def contacts_are_verified_by_their_words(w):
    w.new_vault()
    bob, eve = Person(w, "bob"), Person(w, "eve")
    golden(w.kluis("contact", "list"))
    golden(w.kluis("contact", "add", "bob", "bob.card"), out="unverified bob: WORDS-OF-BOB", err="""
kluis: not verified yet; hint: have them read their 12 words to you, and give those to `kluis contact verify`
""")
    before = w.stored()
    golden(w.kluis("share", "photos", "bob", code=15), err="""
kluis: bob is not verified; nothing was shared; hint: compare the 12 words with them: `kluis contact verify NAME`
""")
    golden(w.kluis("contact", "verify", "bob", *eve.words.split(), code=15), err="""
kluis: these are not the words of the card that you have of bob; nothing was verified; hint: have them read once more; if the words still differ, the card is not theirs
""")
    golden(w.kluis("contact", "verify", "bob", *eve.words.split()[:11], code=2), err="""
kluis: a fingerprint has 12 words, and these are 11; hint: give all of them, in their order
""")
    golden(w.kluis("contact", "verify", "bob", code=2), err="""
kluis: there are 12 words to compare, and no terminal to ask for them on; hint: give them as arguments, as their owner reads them out
""")
    golden(w.kluis("contact", "verify", "carol", *bob.words.split(), code=16), err="""
kluis: no contact is called carol; hint: see `kluis contact list`, or add one: `kluis contact add NAME CARD`
""")
    assert w.stored() == before
    golden(w.kluis("contact", "verify", "bob", bob.words.upper()), out="verified   bob: WORDS-OF-BOB",
           err="kluis: bob is verified")
    golden(w.kluis("contact", "add", "bob", "bob.card"), out="verified   bob: WORDS-OF-BOB", err="""
kluis: the contact stays verified: the keys are the same
""")
    # Somebody puts another card in its place.
    golden(w.kluis("contact", "add", "bob", "eve.card", "-q"), out="changed    bob: WORDS-OF-EVE", err="""
kluis: WARNING: bob has other keys than before, and nothing says that they are theirs; nothing is shared with them until you compare the words again: `kluis contact verify`
""")
    golden(w.kluis("share", "photos", "bob", code=15), err="""
kluis: bob has other keys than those that you verified; nothing was shared; hint: compare the 12 words with them: `kluis contact verify NAME`
""")
    golden(w.kluis("contact", "verify", "bob", "--trust", "--yes", code=15), err="""
kluis: the card of bob has changed: this is no first use; hint: compare the 12 words: `kluis contact verify NAME`
""")
    golden(w.kluis("contact", "list", "--json"), out="""
{"message_type":"contact","name":"bob","trust":"changed","fingerprint":"WORDS-OF-EVE","suite":"x-wing"}
""")
    golden(w.kluis("contact", "remove", "bob"), err="kluis: bob was removed")
    w.kluis("contact", "remove", "bob", code=16)
    # Trust on first use says what that is, and asks.
    w.kluis("contact", "add", "eve", "eve.card")
    means = ("kluis: trust on first use: nobody compares anything; if somebody put another card in the place of eve's on "
             "its way to you, they read what you share with eve")
    golden(w.kluis("contact", "verify", "eve", "--trust", code=2), err=f"""
{means}
kluis: trust the card of eve as it came needs a confirmation; hint: say it on a terminal, or give --yes
""")
    golden(w.kluis("contact", "verify", "eve", "--trust", "--yes", "--json"), out="""
{"message_type":"contact","action":"verified","name":"eve","trust":"verified","fingerprint":"WORDS-OF-EVE","suite":"x-wing"}
""", err=means)
    # On a terminal the words are asked for, and never shown before.
    w.kluis("contact", "add", "bob", "bob.card")
    t = Terminal(w, "contact", "verify", "bob")
    assert bob.words not in t.expect("The 12 words that bob reads to you: ")
    t.say(eve.words + "\n")
    t.end(15)
    t = Terminal(w, "contact", "verify", "bob")
    t.expect("The 12 words that bob reads to you: ")
    t.say(bob.words + "\n")
    t.end(0)
    for wrong in ("", "a\nb"):
        w.kluis("contact", "add", wrong, "bob.card", code=2)
    for name in ("evil\u202eeman", "b:o b/"):
        w.kluis("contact", "add", name, "bob.card")
    seen = Terminal(w, "contact", "list").end(0)
    assert "\u202e" not in seen and "\\u{202e}" in seen, seen


@test_on_each_store
def the_story_of_a_share(w):
    w.new_vault()
    own_words(w)
    bob, eve = Person(w, "bob").is_contact(), Person(w, "eve").is_contact()
    for name in ("photos/old.jpg", "photos/2026/cat.jpg", "diary.txt"):
        w.write(name, f"content of {name}")
    w.kluis("cp", "-r", "photos", "diary.txt", ":in/")
    w.kluis("mv", ":in/photos/old.jpg", ":in/photos/2026/cat.jpg", ":photos/")
    w.kluis("share", "bob", code=2)
    w.kluis("share", code=2)
    w.kluis("share", "photos", "carol", code=16)

    s3 = w.store == "s3" and "KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID" in os.environ
    policy = ["--policy"] if w.store == "s3" else []
    policy = [f"--policy={os.environ['KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID']}"] if s3 else policy
    made = w.kluis("share", "photos", "bob", "--purpose", "the album", "--json", *policy)
    (shared,) = made.json()
    if w.store == "s3":
        check_policy(w, shared)
    assert shared.keys() - {"policy"} == {"message_type", "invitation", "grant", "prefixes"}, shared
    assert shared["invitation"].startswith(w.address.split("#")[0]), shared
    assert shared["prefixes"]["write"] == [] and len(shared["prefixes"]["read"]) == 6, shared
    golden(w.kluis("shares"), out="ID TIME :photos to bob: read, for \"the album\"")
    golden(w.kluis("shares", "--json"), out="""
{"message_type":"grant","state":"given","id":"ID","path":"photos","kind":"folder","to":"bob","fingerprint":"WORDS-OF-BOB","suite":"x-wing","write":false,"past":true,"purpose":"the album","given":"TIME"}
""")
    bucket = w.url.removeprefix("s3://").split("/")[0]
    if s3:
        for person in (bob, eve):
            person.has_own_credentials()
        bob.kluis("accept", shared["invitation"], "--yes", code=15)
        S3().set_policy(bucket, shared["policy"])
    assert "an identity" in bob.kluis("accept", shared["invitation"], env={"KLUIS_IDENTITY": None}, code=2).err
    golden(bob.kluis("accept", shared["invitation"], code=2), err="""
kluis: $VAULT offers the folder "photos": read, for "the album"
kluis: from WORDS-OF-THE-OWNER
kluis: these are the words that its owner sees in `kluis identity show`: compare them
kluis: accept it needs a confirmation; hint: say it on a terminal, or give --yes
""")
    assert "no grant was accepted" in bob.kluis("ls", "--vault", w.url, code=15).err
    eve.kluis("accept", shared["invitation"], "--yes", code=13)
    assert bob.accept(shared["invitation"]).out == ":photos\n"

    # What a member can do: everything below the name.
    golden(bob.kluis("ls"), out="photos/")
    golden(bob.kluis("ls", "-r"), out="photos/cat.jpg\nphotos/old.jpg")
    assert bob.kluis("cat", "photos/old.jpg").out == "content of photos/old.jpg"
    assert bob.kluis("stat", ":photos/old.jpg", "--json").json()[0]["size"] == 25
    bob.kluis("cp", "-r", ":photos", "bobs")
    assert sorted(w.tree("bobs")) == ["cat.jpg", "old.jpg"]
    bob.kluis("check", "photos")
    bob.kluis("check")
    golden(bob.kluis("shares"), out="ID :photos from WORDS-OF-THE-OWNER: read, for \"the album\"")
    golden(bob.kluis("shares", "--json"), out="""
{"message_type":"grant","state":"received","id":"ID","path":"photos","kind":"folder","grantor":"WORDS-OF-THE-OWNER","write":false,"past":true,"purpose":"the album"}
""")
    for outside in ("diary.txt", "in/diary.txt", "photo/old.jpg"):
        bob.kluis("cat", outside, code=16)
    bob.kluis("cp", "diary.txt", ":photos/", code=15)
    bob.kluis("rm", "photos/old.jpg", code=15)
    bob.kluis("mv", ":photos/old.jpg", ":photos/new.jpg", code=15)
    for owners in (["key", "list"], ["contact", "list"], ["revoke", "0123"], ["passwd"], ["access"], ["group", "list"],
                   ["link", "list"], ["lease", "photos", "1h"], ["reencrypt"], ["device", "list"],
                   ["key", "add", "--new-recovery-phrase"], ["recovery", "export"], ["key", "rotate"]):
        assert "hint: only the vault's owner can do this" in bob.kluis(*owners, code=15).err, owners
    # What is given on is a file.
    bob.kluis("share", "photos", "eve", code=2)
    bob.kluis("ls", env={"KLUIS_PASSWORD_FILE": str(w.path("password"))}, code=12)

    # Eve may write, and only from now on.
    policy = policy and ["--policy=" + os.environ["KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID"]]
    (hers,) = w.kluis("share", ":photos/", "eve", "--write", "--from-now", "--until", "2099-12-31", "--json", *policy).json()
    if s3:
        S3().set_policy(bucket, hers["policy"])
    eve.accept(hers["invitation"], "--as", "album")
    eve.kluis("cp", "diary.txt", ":album/hers")
    eve.kluis("cp", "-r", "photos", ":album/all")
    eve.kluis("mv", ":album/all/old.jpg", ":album/all/2026/", ":album/moved/")
    eve.kluis("rm", "-r", "album/moved/2026")
    eve.kluis("cat", "album/old.jpg", code=15)
    assert eve.kluis("cat", "album/moved/old.jpg").out == bob.kluis("cat", "photos/moved/old.jpg").out
    assert w.kluis("cat", "photos/hers").out == "content of diary.txt"
    if s3:
        # The store refuses what the policy does not name, whatever the client believes.
        for key in ("kluis.vault", "k/header", "k/l/x", "o/x"):
            assert refused(bob, w.url, key), key

    # Bob is revoked.
    (grant,) = [g["id"] for g in w.kluis("shares", "--json").json() if g["to"] == "bob"]
    line = 'kluis: takes back ID TIME :photos to bob: read, for "the album"'
    gets = "kluis: :photos and everything in it gets new keys, which go to eve"
    golden(w.kluis("revoke", grant, code=2), err=f"""
{line}
{gets}
kluis: take :photos back from bob needs a confirmation; hint: say it on a terminal, or give --yes
""")
    w.kluis("revoke", grant[:3], "--yes", code=2)
    golden(w.kluis("revoke", "ffffffff", "--yes", code=16), err="""
kluis: no grant in force begins with ffffffff; hint: see `kluis shares`
""")
    done = w.kluis("revoke", grant[:8], "--yes")
    w.known[done.out.strip()] = "PIN"
    left = re.search(r"at the most: (\d+) objects? \(", done.err)
    assert int(left.group(1)) == len(w.kluis("ls", "-r", "photos").lines()), done.err
    golden(done, out="PIN", err=f"{line}\n{gets}\n{TAKEN_BACK}\n" + done.err.splitlines()[-1])
    dry = w.kluis("reencrypt", "-n", "photos").err
    assert left.group(1) + " objects (" in dry, dry
    w.kluis("revoke", grant, "--yes", code=16)
    w.kluis("cp", "diary.txt", ":photos/new")
    golden(bob.kluis("cat", "photos/new", code=15), err="""
kluis: $VAULT: no access to what was shared as "photos": it was taken back; hint: ask whoever shared it for a new invitation, and accept that; or check the credentials of the store
""")
    bob.kluis("ls", code=15)
    assert eve.kluis("cat", "album/new").out == "content of diary.txt"
    assert "until 2099-12-31T23:59:59.999999Z" in w.kluis("shares").out


def check_policy(w, shared):
    """Every action and every resource of it, and nothing else."""
    bucket, prefix = w.url.removeprefix("s3://").split("/", 1)
    objects = shared["prefixes"]["read"][-1]
    statements = [{k: v for k, v in s.items() if k != "Principal"} for s in shared["policy"]["Statement"]]
    below = f"arn:aws:s3:::{bucket}/{prefix}"
    assert statements == [
        {"Sid": "KluisRead", "Effect": "Allow", "Action": ["s3:GetObject"],
         "Resource": [f"{below}/kluis.vault", f"{below}/k/header",
                      *(f"{below}/{key}/*" for key in ("k/h", "k/l", "k/g", objects))]},
        {"Sid": "KluisList", "Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [f"arn:aws:s3:::{bucket}"],
         "Condition": {"StringLike": {"s3:prefix": [f"{prefix}/{key}/*" for key in ("k/h", "k/l", objects)]}}},
    ], statements


def refused(person, url, key):
    """Whether the store itself turns this person's write away."""
    mine = {name: os.environ[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    bucket, prefix = url.removeprefix("s3://").split("/", 1)
    os.environ.update({name: person.env[name] for name in mine})
    try:
        S3().request("PUT", f"/{bucket}/{prefix}/{key}", body=b"x")
        return False
    except OSError as error:
        return "403" in str(error)
    finally:
        os.environ.update(mine)


@test
def f06_f07_f09_a_share_says_what_it_is_and_rests_on(w):
    w.new_vault()
    own_words(w)
    bob = Person(w, "bob").is_contact()
    done = w.kluis("share", "new/folder", "bob", "--from", "2026-01-01")
    objects = re.search(r"k/g, (o/\S+)", done.err).group(1)
    w.known[objects] = "OBJECTS"
    invitation = done.out.strip()
    w.known[invitation] = "INVITATION"
    golden(done, out="INVITATION", err=f"""
kluis: :new/folder: nothing is in this folder yet; what is written to it will be shared
kluis: what their own credentials of the store have to reach, below the vault:
kluis:   read: kluis.vault, k/header, k/h, k/l, k/g, OBJECTS
kluis:   list: k/h, k/l, OBJECTS
kluis: shared :new/folder with bob: read, from TIME; grant ID; {HANDING_OVER}
{READ_RESTS_ON}
""")
    golden(w.kluis("share", ":", "bob", code=2), err="""
kluis: this shares everything in $VAULT, now and later, with bob (WORDS-OF-BOB): read
kluis: share the whole vault with bob needs a confirmation; hint: say it on a terminal, or give --yes
""")
    whole = w.kluis("share", ":", "bob", "--yes", "--write")
    assert WRITE_RESTS_ON in whole.err, whole.err
    assert len(w.kluis("shares").lines()) == 2
    golden(bob.accept(invitation, "--json"), out="""
{"message_type":"grant","state":"received","id":"ID","path":"folder","kind":"folder","grantor":"WORDS-OF-THE-OWNER","write":false,"past":true,"from":"TIME"}
""")
    golden(bob.accept(whole.out.strip(), "--as", "folder", code=14), err="""
kluis: $VAULT offers everything in the vault: read and write
kluis: from WORDS-OF-THE-OWNER
kluis: these are the words that its owner sees in `kluis identity show`: compare them
kluis: a share named folder was accepted from this vault already; hint: give this one another name with --as NAME, or forget the other: `kluis accept --vault file://$VAULT --forget folder`
""")
    bob.accept(whole.out.strip(), "--as", "a/b", code=2)
    assert bob.accept(whole.out.strip()).out == ":vault\n"
    assert bob.accept(whole.out.strip(), "--as", "all").out == ":all\n"
    w.write("x", "1")
    bob.kluis("cp", "x", ":all/new/folder/x")
    golden(bob.kluis("ls", "-r"), out="all/new/folder/x\nfolder/x")
    assert w.kluis("cat", "new/folder/x").out == "1"
    # One of two is taken back: what is left goes on, and the other is denied, not absent.
    ids = [g["id"] for g in w.kluis("shares", "--json").json()]
    golden(w.kluis("revoke", ids[0], "--yes", code=2), err="""
kluis: the same person keeps access by another grant on the same or on a folder around it, ID of the whole vault; revoke both together; hint: mend the arguments
""")
    done = w.kluis("revoke", ids[1], "--yes", "--json")
    messages = done.json()
    w.known[messages[1]["pin"]] = "PIN"
    golden(done, out="""
{"message_type":"grant","state":"revoked","id":"ID","path":"","kind":"folder","to":"bob","fingerprint":"WORDS-OF-BOB","suite":"x-wing","write":true,"past":true,"given":"TIME"}
{"message_type":"pin","pin":"PIN"}
{"message_type":"receipt","path":"","objects":1,"bytes":1,"unknown":0,"ledger":5,"remaining":["ID"],"links":[]}
""", err='kluis: bob keeps ID TIME :new/folder to bob: read, from TIME')
    assert messages[2]["remaining"] == [ids[0]], messages
    w.kluis("cp", "x", ":y")
    golden(bob.kluis("cat", "all/y", code=15), err="""
kluis: :all/y: no access to what was shared as "all": it was taken back; hint: ask whoever shared it for a new invitation, and accept that
""")
    bob.kluis("cp", ":all/new/folder/x", "z", code=15)
    assert bob.kluis("cat", "folder/x").out == "1"
    shown = bob.kluis("shares")
    golden(shown, out="""
ID :all from WORDS-OF-THE-OWNER: read and write; was taken back
ID :folder from WORDS-OF-THE-OWNER: read, from TIME
""")
    ended, going_on = bob.kluis("shares", "--json").json()
    assert (ended["state"], ended["path"], ended["id"]) == ("ended", "all", ids[1]), ended
    assert going_on["state"] == "received", going_on
    # What is over can be forgotten, without a password or a request.
    nothing = {"KLUIS_PASSWORD_FILE": None}
    golden(bob.kluis("accept", "--forget", "all", env=nothing), err="""
kluis: all is forgotten on this device; hint: accept it again with its invitation
""")
    golden(bob.kluis("accept", "--forget", "all", env=nothing, code=16), err="""
kluis: nothing was accepted from $VAULT as all; hint: see `kluis shares`
""")
    assert len(bob.kluis("shares").lines()) == 1
    bob.kluis("accept", code=2)
    bob.kluis("accept", "--forget", "all", invitation, code=2)
    for wrong in ("nothing", "file:///x#0", invitation[:-1], invitation + "/x"):
        bob.kluis("accept", wrong, code=2)
        bob.kluis("accept", "-", stdin=wrong.encode(), code=2)
    assert "copy the whole line" in bob.kluis("accept", invitation[:-1], code=2).err
    # As it was pasted, or in a file, or on stdin.
    w.write("invitation.txt", f"\n  {invitation}\r\n")
    for same in ("invitation.txt", f" {invitation}\n"):
        assert bob.accept(same).out == ":folder\n"
    assert bob.accept("-", stdin=f"{invitation}\n\n".encode()).out == ":folder\n"
    for args in (["--until", "1999-13-01"], ["--from", "2026-02-01", "--until", "2026-01-01"], ["--policy"],
                 ["--until", "2020-01-01"], ["--until", "2026-01-01T00:00:00Z"], ["--purpose", "a\nb"]):
        before = w.stored()
        w.kluis("share", "new/folder", "bob", *args, code=2)
        assert w.stored() == before, args
    # Times are kept by clients that are honest.
    (late,) = w.kluis("share", "late", "bob", "--from", "2098-01-01", "--json").json()
    bob.accept(late["invitation"])
    assert "has not begun" in bob.kluis("ls", "late", code=15).err + bob.kluis("cat", "late/x", code=15).err


@test_on_each_store
def a_grant_is_handed_over_as_a_file(w):
    w.new_vault()
    own_words(w)
    bob, eve = Person(w, "bob").is_contact(), Person(w, "eve")
    w.write("a", "hello")
    w.kluis("cp", "a", ":f/")
    w.write("taken", "x")
    before = w.stored()
    golden(w.kluis("share", "f", "bob", "--out", "taken", code=14), err="""
kluis: taken: the file exists already; hint: choose another name
""")
    assert w.stored() == before and w.read("taken") == b"x"
    done = w.kluis("share", "f", "bob", "--out", "bob.grant")
    assert "the grant was written to bob.grant\n" in done.err, done.err
    invitation, text = done.out.strip(), w.read("bob.grant").decode()
    assert text.startswith("-----BEGIN KLUIS GRANT-----\n") and text.endswith("-----END KLUIS GRANT-----\n"), text
    eve.kluis("accept", "bob.grant", "--yes", code=13)
    w.write("mail", f"Hi Bob,\r\n\r\n{text}\r\nAlice")
    shown = bob.kluis("accept", "mail", code=2).err
    assert "$VAULT offers the folder \"f\": read" in w.normal(shown), shown
    assert bob.accept("mail").out == ":f\n"
    assert bob.kluis("cat", "f/a").out == "hello"
    assert bob.kluis("accept", "-", "--as", "g", "--yes", stdin=text.encode()).out == ":g\n"
    # The same as its invitation, which knows it by now.
    assert bob.accept(invitation).out == ":g\n"
    first = text.splitlines()[1]
    for damaged, code in ((text.replace(first, "AAAA" + first[4:]), 13), (text * 2, 2), ("", 2), ("nothing", 2),
                          (text.replace("GRANT", "CARD"), 2), ("x" * (25 << 20), 2)):
        w.write("damaged", damaged)
        bob.kluis("accept", "damaged", "--yes", code=code)
    if w.store == "folder":
        # Where the store has lost the letter, the file still opens what it is for.
        name = invitation.split("#")[1].split("/")[1]
        w.path(f"vault1/k/g/{name}").unlink()
        bob.kluis("ls", code=16)
        assert bob.accept("bob.grant").out == ":g\n"
        assert bob.kluis("cat", "g/a").out == "hello"


@test_on_each_store
def one_object_and_one_version(w):
    w.new_vault()
    own_words(w)
    bob, eve = Person(w, "bob").is_contact(), Person(w, "eve").is_contact()
    for name in ("cat.jpg", "dog.jpg"):
        w.write(name, f"content of {name}")
    w.kluis("cp", "cat.jpg", "dog.jpg", ":photos/")
    s3 = w.store == "s3" and "KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID" in os.environ
    policy = [f"--policy={os.environ['KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID']}"] if s3 else []
    bucket = w.url.removeprefix("s3://").split("/")[0]
    (cat,) = w.kluis("share", "photos/cat.jpg", "bob", "--write", "--json", *policy).json()
    assert cat["prefixes"]["list"] == ["k/h", "k/l"] and len(cat["prefixes"]["write"]) == 1, cat
    if s3:
        # The object's own key, and nothing below it.
        own = f"arn:aws:s3:::{w.url.removeprefix('s3://')}/{cat['prefixes']['write'][0]}"
        read, _, write = cat["policy"]["Statement"]
        assert write["Resource"] == [own] and read["Resource"][-1] == own, cat["policy"]
        for person in (bob, eve):
            person.has_own_credentials()
        S3().set_policy(bucket, cat["policy"])
    golden(bob.kluis("accept", cat["invitation"], code=2), err="""
kluis: $VAULT offers the object "cat.jpg": read and write
kluis: from WORDS-OF-THE-OWNER
kluis: these are the words that its owner sees in `kluis identity show`: compare them
kluis: accept it needs a confirmation; hint: say it on a terminal, or give --yes
""")
    bob.accept(cat["invitation"])
    golden(bob.kluis("ls"), out="cat.jpg")
    golden(bob.kluis("ls", "-r"), out="cat.jpg")
    golden(bob.kluis("ls", "cat.jpg"), out="cat.jpg")
    assert bob.kluis("cat", "--range", "0..7", "cat.jpg").out == "content"
    golden(bob.kluis("shares"), out="ID :cat.jpg (object) from WORDS-OF-THE-OWNER: read and write")
    bob.kluis("check")
    w.write("his", "by bob")
    bob.kluis("cp", "his", ":cat.jpg", "--overwrite")
    assert w.kluis("cat", "photos/cat.jpg").out == "by bob"
    for outside in ("dog.jpg", "photos/dog.jpg", "photos/cat.jpg", "cat.jpg/x"):
        bob.kluis("cat", outside, code=16)
        bob.kluis("cp", "his", f":{outside}", code=16)
    assert bob.accept(cat["invitation"], "--as", "tom").out == ":tom\n"
    assert bob.kluis("cat", "tom").out == "by bob"
    assert w.kluis("reencrypt", "--dry-run").out == ""

    # One version, and what is written after it.
    made = w.kluis("share", "photos/dog.jpg", "eve", "--version", *policy)
    assert "this is one version" in made.err and "no revocation takes back" in made.err, made.err
    invitation, _, printed = made.out.partition("\n")
    if s3:
        S3().set_policy(bucket, json.loads(printed))
    eve.accept(invitation)
    assert eve.kluis("cat", "dog.jpg").out == "content of dog.jpg"
    eve.kluis("cp", "his", ":dog.jpg", "--overwrite", code=15)
    w.kluis("cp", "his", ":photos/dog.jpg", "--overwrite")
    assert "another one lies there now" in eve.kluis("cat", "dog.jpg", code=16).err
    golden(w.kluis("shares"), out="""
ID TIME :photos/cat.jpg (object) to bob: read and write
ID TIME :photos/dog.jpg (version) to eve: read
""")

    # What is meant has to be said.
    for wrong, code in ((["photos/cat.jpg/", "--version"], 2), (["photos", "--version"], 16),
                        (["photos/dog.jpg", "--version", "--write"], 2), (["photos/dog.jpg", "--version", "--from-now"], 2)):
        w.kluis("share", wrong[0], "eve", *wrong[1:], code=code)

    # Taken back.
    ids = {g["path"]: g["id"] for g in w.kluis("shares", "--json").json()}
    assert "new keys" not in w.kluis("revoke", ids["photos/dog.jpg"], "--yes").err
    done = w.kluis("revoke", ids["photos/cat.jpg"], "--yes")
    for line in (":photos/cat.jpg (object) to bob: read and write", "what :photos/cat.jpg lies in gets new keys",
                 "what can still be read of :photos/cat.jpg with what was taken back, at the most: 1 object"):
        assert line in done.err, done.err
    w.write("new", "after")
    w.kluis("cp", "new", ":photos/cat.jpg", "--overwrite")
    if s3:
        S3().set_policy(bucket, cat["policy"])
    bob.kluis("cat", "tom", code=15)
    bob.kluis("cp", "his", ":tom", "--overwrite", code=15)
    assert w.kluis("cat", "photos/cat.jpg").out == "after"


@test
def k04_a_classical_recipient_is_refused_and_flagged(w):
    w.new_vault()
    Person(w, "old", "--classical").is_contact()
    before = w.stored()
    golden(w.kluis("share", "photos", "old", code=15), err="""
kluis: the identity of old is x25519 alone: what is shared with it can be recorded today and read by a quantum computer later; nothing was shared; hint: ask for an identity made without --classical, or give --allow-classical
""")
    assert w.stored() == before
    done = w.kluis("share", "photos", "old", "--allow-classical", "-q")
    assert "sealed with x25519 alone" in done.err, done.err
    assert w.kluis("shares").out.endswith(" (classical)\n")
    w.kluis("group", "new", "team")
    w.kluis("group", "add", "team", "old", code=15)
    w.kluis("group", "add", "team", "old", "--allow-classical", "-q")
    golden(w.kluis("group", "list"), out="""
team: 1 member
ID TIME the group team to old (classical)
""")
    assert w.kluis("shares", "--json").json()[0]["suite"] == "x25519"
    assert w.kluis("contact", "list").out.endswith(" (classical)\n")


@test
def an_identity_takes_the_place_of_a_password(w):
    w.new_vault()
    bob = Person(w, "bob").is_contact()
    w.write("a", "hello")
    w.kluis("cp", "a", ":f/")
    invitation = w.kluis("share", "f", "bob").out.strip()
    bob.accept(invitation)
    env = {"KLUIS_IDENTITY": None}
    assert bob.kluis("cat", "f/a", "--identity", "bob.id", env=env).out == "hello"
    config = w.path("home-bob/.config/kluis/config.toml")
    config.parent.mkdir(parents=True)
    config.write_text(f'[vault.shared]\nurl = "{w.url}"\nidentity = "{w.dir}/bob.id"\n')
    assert bob.kluis("cat", "shared:f/a", env=env).out == "hello"
    bob.kluis("cp", "shared:f/a", "down", env=env)
    for other in (["--keyfile", "a"], ["--recovery-phrase-file", "a"], ["--recovery-phrase"]):
        bob.kluis("ls", "--identity", "bob.id", *other, code=2)
    bob.kluis("ls", "--identity", "nothing", code=16)
    golden(bob.kluis("ls", env={"KLUIS_PASSWORD_FILE": str(w.path("password"))}, code=12), err="""
kluis: $DIR/bob.id: wrong password of the identity file; hint: try again; it is not the password of the vault; or KLUIS_IDENTITY is set by mistake: unset it to open with the password
""")
    bob.kluis("ls", "--identity", "a", code=2)
    t = Terminal(w, "ls", env={**bob.env, "KLUIS_PASSWORD_FILE": None})
    t.expect("Password of the identity file ")
    t.say("the password of bob\n")
    assert "f/" in t.end(0)
    t = Terminal(w, "accept", invitation, env=bob.env)
    t.expect("accept it? [y/N] ")
    t.say("y\n")
    assert ":f" in t.end(0)
    # No secret in what a process list or a log could show.
    done = bob.kluis("ls", "-v")
    assert "the password of bob" not in done.err + done.out


@test_on_each_store
def what_was_revoked_is_written_again(w):
    w.new_vault()
    bob = Person(w, "bob").is_contact()
    w.write("one.txt", "one")
    w.write("two.txt", "two!")
    w.kluis("cp", "one.txt", ":docs/")
    invitation = w.kluis("share", "docs", "bob").out.strip()
    w.kluis("cp", "two.txt", ":docs/")
    grant = w.kluis("shares").out.split()[0]
    w.kluis("revoke", "--yes", grant)
    w.write("three.txt", "three")
    w.kluis("cp", "three.txt", ":docs/")
    left = w.kluis("reencrypt", "--dry-run", "docs")
    assert "2 objects (7 B) in :docs can still be read with keys of before" in left.err, left.err
    done = w.kluis("reencrypt", "docs")
    assert "wrote 2 objects again (7 B); nothing is left that was taken back" in done.err, done.err
    left = w.kluis("reencrypt", "-n", "--json").json()
    assert [(m["message_type"], m["items"], m["bytes"], m["failed"], m["dry_run"]) for m in left] == [
        ("summary", 0, 0, 0, True)], left
    for name, content in (("one", "one"), ("two", "two!"), ("three", "three")):
        assert w.kluis("cat", f"docs/{name}.txt").out == content
    assert "wrote 0 objects again" in w.kluis("reencrypt").err
    w.kluis("reencrypt", "nothing", code=16)
    bob.accept(invitation, code=15)


@test_on_each_store
def f13_a_pin_holds_a_vault_to_a_revocation(w):
    w.new_vault()
    bob, eve = Person(w, "bob").is_contact(), Person(w, "eve").is_contact()
    w.write("a", "hello")
    w.kluis("cp", "a", ":f/")
    invitations = [w.kluis("share", "f", name).out.strip() for name in ("bob", "eve")]
    eve.accept(invitations[1])
    if w.store == "folder":
        shutil.copytree(w.url, w.path("before"))
    (bobs,) = [g["id"] for g in w.kluis("shares", "--json").json() if g["to"] == "bob"]
    done = w.kluis("revoke", bobs, "--yes", "--no-receipt")
    pin = done.out.strip()
    assert re.fullmatch(r"[0-9a-f]{32}/\d+/[0-9a-f]{64}", pin) and "at the most" not in done.err, done.out
    assert w.kluis("cat", "f/a", "--pin", pin).out == "hello"
    assert eve.kluis("cat", "f/a", env={"KLUIS_PIN": pin}).out == "hello"
    for wrong in ("nothing", pin + "/", pin.upper()):
        w.kluis("ls", "--pin", wrong, code=2)
        w.kluis("ls", env={"KLUIS_PIN": wrong}, code=2)
    w.kluis("init", "./other", "--pin", pin, code=2)
    url = w.kluis("init", "./other").out.strip().split("#")[0]
    w.kluis("ls", "--vault", url, "--pin", pin, code=15)
    if w.store != "folder":
        return
    # The provider goes back to before it, for a device that remembers nothing.
    shutil.rmtree(w.url)
    shutil.copytree(w.path("before"), w.url)
    fresh = {"XDG_STATE_HOME": str(w.path("fresh"))}
    assert w.kluis("cat", "f/a", env=fresh).out == "hello"
    assert "an older state" in w.kluis("cat", "f/a", "--pin", pin, env=fresh, code=13).err
    bob.kluis("accept", invitations[0], "--yes", "--pin", pin, code=13)
    bob.kluis("accept", invitations[0], "--yes", env={"KLUIS_PIN": pin}, code=13)
    bob.accept(invitations[0])


@test
def what_ended_alone_is_shown_too(w):
    w.new_vault()
    own_words(w)
    bob = Person(w, "bob").is_contact()
    bob.accept(w.kluis("share", "f", "bob", "--until", "2098-01-01").out.strip())
    w.kluis("revoke", w.kluis("shares").out[:32], "--yes")
    bob.kluis("ls", code=15)
    golden(bob.kluis("shares"), out="""
ID :f from WORDS-OF-THE-OWNER: read, until TIME; was taken back
""")
    bob.kluis("accept", "--forget", "f")
    bob.kluis("shares", code=15)


@test_on_each_store
def a_device_opens_the_vault_and_is_removed(w):
    w.new_vault()
    phone, laptop = Person(w, "phone"), Person(w, "laptop").is_contact()
    w.write("a", "hello")
    w.kluis("cp", "a", ":a")
    before = w.stored()
    means = ("kluis: this lets whoever has the identity of {} open the vault in place of you: read, write, share and "
             "revoke everything\nkluis: its words are {}\nkluis: compare them with those of `kluis identity show` on "
             "the device")
    golden(w.kluis("device", "enrol", "phone.card", code=2), err=means.format("phone.card", "WORDS-OF-PHONE") + """
kluis: enrol phone.card needs a confirmation; hint: say it on a terminal, or give --yes
""")
    w.kluis("device", "enrol", "nobody", "--yes", code=16)
    w.kluis("device", "enrol", "./nobody", "--yes", code=16)
    w.kluis("device", "enrol", "a", "--yes", code=2)
    assert w.stored() == before
    done = w.kluis("device", "enrol", "phone.card", "--yes")
    first = done.out.strip()
    assert f"note {first} beside its name" in done.err and w.address.split("#")[1] in done.err, done.err
    (second,) = w.kluis("device", "enrol", "laptop", "--yes", "--json").json()
    assert (second["message_type"], second["kind"], second["current"]) == ("slot", "device", False), second
    golden(w.kluis("device", "list"), out="ID TIME device\nID TIME device")
    assert len(w.kluis("key", "list").lines()) == 3
    # A device has the whole vault, by its identity and the address with its id.
    for device in (phone, laptop):
        device.env["KLUIS_VAULT"] = w.url
        device.kluis("ls", code=2)  # without the #id: whoever knows the card could have made another vault
        device.env["KLUIS_VAULT"] = w.address
        golden(device.kluis("ls"), out="a")
    assert [s["id"] for s in phone.kluis("device", "list", "--json").json() if s["current"]] == [first]
    phone.kluis("cp", ":a", ":b")
    Person(w, "bob").is_contact()
    phone.kluis("share", "f", "bob")
    # Removing says what it is not, and asks.
    knows = ("kluis: this alone is housekeeping: the device has held the root key, and an old copy of the vault's header "
             "still opens with its identity; one that was enrolled twice has another slot, which `kluis device list` does not tell apart")
    golden(w.kluis("device", "remove", first[:8], code=2), err=f"""
kluis: removes the key slot of device ID; the other 2 stay as they are
{knows}
kluis: remove device ID needs a confirmation; hint: say it on a terminal, or give --yes
""")
    password = [s["id"] for s in w.kluis("key", "list", "--json").json() if s["kind"] == "password"][0]
    w.kluis("device", "remove", password, "--yes", code=16)
    begins = any(device.startswith("0") for device in (first, second["id"]))
    w.kluis("device", "remove", "0", "--yes", code=2 if begins else 16)
    done = w.kluis("device", "remove", first, "--yes", "-q")
    assert "still knows what it knew; hint: if it was lost" in done.err and "`kluis key rotate`" in done.err, done.err
    phone.kluis("ls", code=15)
    assert laptop.kluis("cat", "a").out == "hello"
    # Which locks out every other device as well.
    w.kluis("key", "rotate", "--yes")
    laptop.kluis("ls", code=15)
    golden(w.kluis("device", "list"))
    assert w.kluis("cat", "b").out == "hello"


@test
def k04_a_classical_device_is_refused(w):
    w.new_vault()
    Person(w, "old", "--classical")
    before = w.stored()
    assert "x25519 alone" in w.kluis("device", "enrol", "old.card", "--yes", code=15).err
    assert w.stored() == before
    done = w.kluis("device", "enrol", "old.card", "--yes", "--allow-classical", "-q")
    assert "sealed with x25519 alone" in done.err, done.err


@test
def an_unverified_contact_is_no_device(w):
    w.new_vault()
    Person(w, "bob")
    w.kluis("contact", "add", "bob", "bob.card")
    w.kluis("device", "enrol", "bob", "--yes", code=15)


@test
def who_had_access_is_told(w):
    w.new_vault()
    bob, eve = Person(w, "bob").is_contact(), Person(w, "eve").is_contact()
    w.kluis("contact", "add", "=cmd|'/c'!A1", "bob.card")
    w.kluis("contact", "verify", "=cmd|'/c'!A1", *bob.words.split())
    golden(w.kluis("access"), err="kluis: nobody else than the owner has access to anything in the vault, by what the "
                                  "ledger holds up to entry 6")
    w.kluis("share", "a/b", "bob", "--write", "--purpose", 'the "audit", 1st')
    w.kluis("share", ":", "eve", "--yes", "--from-now", "--from", "2020-01-01", "--until", "2098-01-01")
    w.kluis("share", "a/b/c", "=cmd|'/c'!A1", "--purpose=-1+1")
    w.kluis("share", "later", "bob", "--from", "2097-01-01")
    table = w.kluis("access", "a/b/x").lines()
    assert table[0].split() == ["to", "fingerprint", "kind", "path", "rights", "from", "until", "given", "given", "by",
                                "entry", "by", "suite", "purpose"], table
    assert len(table) == 3 and table[1].startswith("bob  ") and table[2].startswith("eve  "), table
    starts = [[line.index(word) for word in words] for line, words in zip(
        table, (("fingerprint", "kind", "path"), (bob.words, "folder", ":a/b"), (eve.words, "vault", ":  ")))]
    assert starts[0] == starts[1] == starts[2], table
    (bobs,) = [g["id"] for g in w.kluis("shares", "--json").json() if g["path"] == "a/b"]
    # The same person's keys have another road on the folder in it: both go.
    w.kluis("revoke", bobs, "--yes", "-q")
    now = w.kluis("access", "a/b/c", "--json").json()
    assert [(m["message_type"], m.get("to"), m.get("kind")) for m in now] == [
        ("access", "eve", "vault"), ("access", "=cmd|'/c'!A1", "folder"), ("statement", None, None)], now
    day = time.strftime("%Y-%m-%d", time.gmtime())
    then = w.kluis("access", "a/b/c", "--from", day, "--until", day, "--json").json()
    assert [m.get("to") for m in then] == ["bob", "eve", "=cmd|'/c'!A1", None], then
    first = then[0]
    assert first["id"] == bobs and first["write"] and first["ended_by_entry"] == 11, first
    assert first["given_by_entry"] == 7 and first["by"] == "owner" and first["purpose"] == 'the "audit", 1st', first
    assert then[-1]["ledger"] == 11 and then[-1]["items"] == 3, then
    assert [m.get("to") for m in w.kluis("access", "--until", "2019-12-31", "--json").json()] == [None]
    assert [m.get("to") for m in w.kluis("access", "later", "--until", "2098-01-01", "--json").json()] == [
        "eve", "bob", None]
    # Bob has the keys already, whatever was agreed.
    (_, his, _) = w.kluis("access", "later", "--json").json()
    assert his["to"] == "bob" and his["from"].startswith("2097-01-01"), his
    # RFC 4180, and no formula for a spreadsheet.
    done = w.kluis("access", "a/b/c", "--from", day, "--csv")
    assert done.out.endswith("\r\n") and done.out.count("\r\n") == done.out.count("\n") == 4, done.out
    rows = list(csv.DictReader(io.StringIO(done.out_bytes.decode(), newline="")))
    assert [row["to"] for row in rows] == ["bob", "eve", "'=cmd|'/c'!A1"], rows
    assert [row["purpose"] for row in rows] == ['the "audit", 1st', "", "'-1+1"], rows
    assert [row["rights"] for row in rows] == ["read and write", "read, nothing of the past", "read"], rows
    assert rows[0]["ended"] and not rows[1]["ended"] and rows[1]["until"] == "2098-01-01T23:59:59.999999Z", rows
    assert rows[0]["fingerprint"] == bob.words and rows[0]["kind"] == "folder" and rows[0]["path"] == ":a/b", rows
    for wrong in (["--csv", "--json"], ["--from", "x"], ["--from", "2026-02-01", "--until", "2026-01-01"], ["a//b"]):
        w.kluis("access", *wrong, code=2)


@test
def an_identity_is_imported(w):
    w.kluis("identity", "new", "me.id")
    words = w.kluis("identity", "show", "me.id").out
    made = w.read("me.id")
    assert w.kluis("identity", "import", "me.id", "copy.id").out == words
    assert w.read("copy.id") == made and stat.S_IMODE(w.path("copy.id").stat().st_mode) == 0o600
    # From a mail, on stdin; the password has to be its own.
    mail = b"Hi,\n\n" + made + b"\nB."
    w.write("other", "another password\n")
    other = {"KLUIS_PASSWORD_FILE": str(w.path("other"))}
    w.kluis("identity", "import", "-", "mail.id", stdin=mail, env=other, code=12)
    assert not w.path("mail.id").exists()
    w.kluis("identity", "import", "-", "mail.id", stdin=mail)
    assert w.read("mail.id") == made
    # Under a new password.
    (told,) = w.kluis("identity", "import", "me.id", "new.id", "--new-password-file", "other", "--json").json()
    assert told["fingerprint"] == words.strip() and told["file"] == "new.id", told
    w.kluis("identity", "import", "new.id", "again.id", code=12)
    w.kluis("identity", "import", "new.id", "again.id", env=other)
    # What is there is replaced only when that is said, and what is no identity never gets in.
    w.kluis("identity", "new", "you.id")
    yours = w.read("you.id")
    done = w.kluis("identity", "import", "me.id", "you.id", code=2)
    assert "you.id exists: the identity " in done.err and w.read("you.id") == yours, done.err
    w.kluis("identity", "import", "me.id", "you.id", "--yes", env=other, code=12)
    assert w.read("you.id") == yours
    w.kluis("identity", "import", "me.id", "you.id", "--yes")
    assert w.read("you.id") == made and stat.S_IMODE(w.path("you.id").stat().st_mode) == 0o600
    assert not [p for p in w.dir.iterdir() if ".new-" in p.name]
    card = w.kluis("identity", "export", "me.id").out
    first = made.decode().splitlines()[2]
    for damaged, code in ((card, 2), ("", 2), (made.decode() * 2, 2), (made.decode().replace(first, "A" * 64), 13)):
        w.write("damaged", damaged)
        w.kluis("identity", "import", "damaged", "x.id", code=code)
    w.kluis("identity", "import", "nothing", "x.id", code=16)
    for wrong in (["--kdf", "desktop"], ["--new-keyfile", "k"], ["--new-password-file", "other", "--new-password-fd", "0"]):
        w.kluis("identity", "import", "me.id", "x.id", *wrong, code=2)
    assert not w.path("x.id").exists()


@test
def a_link_is_a_road_that_revoke_names(w):
    w.new_vault()
    Person(w, "bob").is_contact()
    w.write("x", "x")
    w.kluis("cp", "x", ":photos/a/x")
    w.kluis("cp", "x", ":other/x")
    w.kluis("share", "photos/a", "bob", "-q")
    w.kluis("share", "photos/a/x", "bob", "-q")
    links = [w.kluis("link", "create", path, "--yes", "--json", "-q").json()[0]["id"]
             for path in ("photos", "photos/a/x", "other", ":", "photos/b")]
    folder, single = (grant["id"] for grant in w.kluis("shares", "--json").json())
    roads = """
kluis: whoever has link ID still reads :photos
kluis: whoever has link ID still reads :photos/a/x (object)
kluis: whoever has link ID still reads :
"""
    # By a folder around it he would keep it, which is said before anything is asked.
    golden(w.kluis("revoke", single, code=2), err="""
kluis: the same person keeps access by another grant on the same or on a folder around it, ID of "photos/a"; revoke both together; hint: mend the arguments
""")
    golden(w.kluis("revoke", folder, code=2), err=f"""
kluis: takes back ID TIME :photos/a to bob: read
kluis: :photos/a and everything in it gets new keys, which go to bob
{roads.strip()}
kluis: take :photos/a back from bob needs a confirmation; hint: say it on a terminal, or give --yes
""")
    done = w.kluis("revoke", folder, "--yes", "-q")
    w.known[done.out.strip()] = "PIN"
    golden(done, out="PIN", err=f"""
kluis: bob keeps ID TIME :photos/a/x (object) to bob: read
{roads.strip()}
""")
    *_, receipt = w.kluis("revoke", single, "--yes", "--json", "-q").json()
    assert sorted(receipt["links"]) == sorted([links[0], links[1], links[3]]), receipt


@test
def a_lease_is_set_and_seen(w):
    w.new_vault()
    bob = Person(w, "bob").is_contact()
    own_words(w)
    golden(w.kluis("lease"), err="kluis: there is no lease of :")
    golden(w.kluis("lease", "photos", "1h", code=2), err="""
kluis: :photos: only a folder that was shared has writers of its own; share it first; hint: mend the arguments
""")
    invitation = w.kluis("share", "photos", "bob", "--write", "-q").out.strip()
    golden(w.kluis("lease", "photos", "1h"), err="""
kluis: writers of :photos and what is in it stop where the newest entry of the ledger that they see is older than 1h; your next command that writes or opens the vault renews it, at half of that
""")
    golden(w.kluis("lease", "photos"), out=":photos: 1h; writers go on until TIME, or until it is renewed")
    (seen,) = w.kluis("lease", "--json").json()
    assert (seen["message_type"], seen["path"], seen["seconds"]) == ("lease", "photos", 3600) and seen["ends"], seen
    golden(w.kluis("lease", "other"), err="kluis: there is no lease of :other")
    # Who keeps to it sees it, and sets nothing.
    bob.accept(invitation)
    golden(bob.kluis("lease"), out=":photos: 1h; writers go on until TIME, or until it is renewed")
    bob.kluis("lease", "photos", "off", code=15)
    for wrong in ("59s", "0s", "1", "never", ""):
        w.kluis("lease", "photos", wrong, code=2)
    w.kluis("lease", ":", "90s", "-q")
    assert [lease["seconds"] for lease in w.kluis("lease", "--json").json()] == [90, 90]
    golden(w.kluis("lease", ":", "off"), err="""
kluis: writers of : and what is in it go on, however old the newest entry is that they see
""")
    golden(w.kluis("lease"), err="kluis: there is no lease of :")


@test
def stat_says_who_signed(w):
    w.new_vault("--signed")
    words = own_words(w)
    bob = Person(w, "bob")
    # A name may hold anything but controls.
    name = "bo\u202eb"
    w.kluis("contact", "add", name, "bob.card")
    w.kluis("contact", "verify", name, *bob.words.split())
    invitation = w.kluis("share", "photos", name, "--write", "-q").out.strip()
    w.write("x", "x")
    w.kluis("cp", "x", ":photos/mine")
    bob.accept(invitation)
    bob.kluis("cp", "x", ":photos/his")

    def writer(who, path):
        (line,) = (line for line in who.kluis("stat", path).lines() if line.startswith("writer "))
        return line.removeprefix("writer").strip(), who.kluis("stat", path, "--json").json()[0]["writer"]

    text, said = writer(w, "photos/mine")
    assert text == f"yourself ({words})" and said["own"] and said["fingerprint"] == words and "name" not in said, said
    text, said = writer(w, "photos/his")
    assert text == f"bo\\u{{202e}}b ({bob.words})", text
    assert (said["own"], said["name"], said["fingerprint"], len(said["key"])) == (False, name, bob.words, 64), said
    assert writer(bob, "photos/his")[0] == f"yourself ({bob.words})"
    assert writer(bob, "photos/mine")[0] == words
    w.kluis("contact", "remove", name)
    w.kluis("revoke", w.kluis("shares", "--json").json()[0]["id"], "--yes", "-q")
    text, said = writer(w, "photos/his")
    assert text == f"the key {said['key']}" and set(said) == {"own", "key"}, said
    # Nobody knows in a vault that is not signed.
    w.new_vault()
    w.kluis("cp", "x", ":x")
    assert "writer" not in w.kluis("stat", "x").out and "writer" not in w.kluis("stat", "x", "--json").json()[0]


@test
def what_has_ended_gives_up_its_name(w):
    w.new_vault()
    own_words(w)
    bob, eve = Person(w, "bob").is_contact(), Person(w, "eve").is_contact()
    for name in ("photos/a", "old/photos/b", "my docs/c"):
        w.write(name, name)
    w.kluis("cp", "-r", "photos", "old", "my docs", ":")
    (first,) = w.kluis("share", "photos", "bob", "--json").json()
    bob.accept(first["invitation"])
    bob.accept(w.kluis("share", "my docs", "bob").out.strip())
    # Another one of its name, by what its owner calls it, and before the question.
    other = w.kluis("share", "old/photos", "bob").out.strip()
    golden(bob.kluis("accept", other, code=14), err="""
kluis: $VAULT offers the folder "photos": read
kluis: from WORDS-OF-THE-OWNER
kluis: these are the words that its owner sees in `kluis identity show`: compare them
kluis: a share named photos was accepted from this vault already; hint: give this one another name with --as NAME, or forget the other: `kluis accept --vault file://$VAULT --forget photos`
""")
    # The hint works as it is written, in a shell, by who has no vault set.
    clash = bob.kluis("accept", other, "--as", "my docs", "--yes", code=14).err
    hint = clash.split("`")[-2]
    assert hint.endswith("--forget 'my docs'"), hint
    environment = {k: v for k, v in {**w.env, **bob.env, "KLUIS_VAULT": None}.items() if v is not None}
    subprocess.run(["sh", "-c", hint.replace("kluis", KLUIS, 1)], env=environment, cwd=w.dir, check=True)
    assert bob.accept(other, "--as", "my docs").out == ":my docs\n"
    # Taken back and given again.
    w.kluis("revoke", first["grant"], "--yes", "--no-receipt")
    bob.kluis("cat", "photos/a", code=15)
    (second,) = w.kluis("share", "photos", "bob", "--json").json()
    golden(bob.kluis("accept", second["invitation"], code=2), err="""
kluis: $VAULT offers the folder "photos": read
kluis: from WORDS-OF-THE-OWNER
kluis: these are the words that its owner sees in `kluis identity show`: compare them
kluis: it takes the place of grant ID, which is not in force any more
kluis: accept it needs a confirmation; hint: say it on a terminal, or give --yes
""")
    bob.kluis("cat", "photos/a", code=15)
    assert bob.accept(second["invitation"]).out == ":photos\n"
    assert bob.kluis("cat", "photos/a").out == "photos/a"
    assert [m["id"] for m in bob.kluis("shares", "--json").json() if m["path"] == "photos"] == [second["grant"]]
    # Not in its time any more.
    end = int(time.time()) + 6
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(end))
    (third,) = w.kluis("share", "photos", "eve", "--until", soon, "--json").json()
    eve.accept(third["invitation"])
    time.sleep(max(0, end + 1 - time.time()))
    ended = eve.kluis("cat", "photos/a", code=15)
    assert ended.err.endswith("hint: ask the vault's owner: they decide who has access, and until when\n"), ended.err
    assert eve.accept(w.kluis("share", "photos", "eve", "--write").out.strip()).out == ":photos\n"
    assert eve.kluis("cat", "photos/a").out == "photos/a"
    # Only the owner, and only what was shared.
    golden(eve.kluis("key", "list", code=15), err="""
kluis: no access to what only the owner of the vault can do; hint: only the vault's owner can do this; ask them
""")
    assert "new.txt, which is outside of what was shared" in eve.kluis("cp", "photos/a", ":new.txt", code=16).err
    assert "ask the vault's owner" in bob.kluis("cp", "photos/a", ":photos/x", code=15).err
    # One object is checked by its path, and what is in a folder.
    assert "checked 1 record" in eve.kluis("check", "photos/a").err
    eve.kluis("check", "photos/b", code=16)


@test
def a_place_is_given_again(w):
    w.new_vault()
    bob = Person(w, "bob").is_contact()
    w.write("x", "x")
    w.kluis("cp", "x", ":photos/x")
    w.kluis("group", "new", "team")
    first = w.kluis("group", "add", "team", "bob").out.strip()
    given = w.kluis("share", "photos", "team").out.strip()
    bob.accept(first)
    bob.accept(given)
    w.kluis("group", "remove", "team", "bob", "--yes", "--no-receipt")
    bob.kluis("ls", code=15)
    again = w.kluis("group", "add", "team", "bob").out.strip()
    assert "it takes the place of grant" in bob.kluis("accept", again, code=2).err
    bob.accept(again)
    # What came by the old place comes by this one, and goes with it.
    assert bob.kluis("cat", "photos/x").out == "x"
    bob.accept(given)
    assert len(bob.kluis("shares").lines()) == 2
    assert len(bob.kluis("accept", "--forget", "team").err.splitlines()) == 2
    bob.accept(again)
    bob.accept(given)
    # The place in another group, under the name of one that has ended: what came by that
    # opens no more, and is forgotten with it.
    w.kluis("group", "new", "crew")
    crew = w.kluis("group", "add", "crew", "bob").out.strip()
    w.kluis("group", "remove", "team", "bob", "--yes", "--no-receipt")
    bob.accept(crew, "--as", "team")
    assert len(bob.kluis("shares").lines()) == 1
    bob.kluis("cat", "photos/x", code=16)


@test
def what_goes_wrong_says_what_to_do(w):
    w.new_vault()
    own_words(w)
    bob, eve = Person(w, "bob").is_contact(), Person(w, "eve").is_contact()
    w.write("x", "x")
    w.kluis("cp", "x", ":photos/x")
    invitation = w.kluis("share", "photos", "bob").out.strip()
    # Somebody else's.
    golden(eve.kluis("accept", invitation, "--yes", code=13), err="""
kluis: $VAULT: this grant does not open with this identity: it is for somebody else, for a group in which you have not accepted your place, or it was altered; hint: compare `kluis identity show` with whom it is for, accept the place in the group first, or ask for the grant anew
""")
    # An identity that the owner did not mean to use.
    mine = {"KLUIS_IDENTITY": "eve.id"}
    by_mistake = "; or KLUIS_IDENTITY is set by mistake: unset it to open with the password\n"
    assert w.kluis("ls", env=mine, code=12).err.endswith(by_mistake)
    with_its_password = {**mine, "KLUIS_PASSWORD_FILE": "eve.password"}
    golden(w.kluis("ls", env=with_its_password, code=15), err=f"""
kluis: $VAULT: no access to this vault: the identity is no device of it, and no grant was accepted here; hint: accept what was shared with you: `kluis accept INVITATION`{by_mistake}
""")
    eve.env["KLUIS_VAULT"] = w.url
    golden(eve.kluis("ls", code=2), err=f"""
kluis: $VAULT: an identity opens only a vault that is known: give the address with its #id; hint: or accept what was shared with you: `kluis accept INVITATION`{by_mistake}
""")
    named = eve.kluis("ls", "--identity", "eve.id", env={"KLUIS_IDENTITY": None}, code=2)
    assert "KLUIS_IDENTITY" not in named.err, named.err
    # Names, and what is not empty.
    w.kluis("group", "new", "team")
    w.kluis("group", "add", "team", "bob")
    for args in (("group", "new", "bob"), ("group", "add", "team", "bob"), ("contact", "add", "team", "bob.card")):
        assert "hint: mend" not in w.kluis(*args, code=2).err, args
    w.write("full/of/things", "x")
    golden(w.kluis("init", "./full", code=14), err="""
kluis: $DIR/full: something else lies there already; nothing was written; hint: choose an empty folder or prefix
""")
    # What this device remembers, damaged.
    (pins,) = w.home.rglob("*.pins")
    pins.write_bytes(pins.read_bytes()[:-1] + b"x")
    damaged = w.kluis("ls", code=1).err
    assert f"{pins.name}: " in damaged and "remove it" in damaged, damaged
    pins.unlink()
    w.kluis("ls")


@test
def one_object_is_checked(w):
    for signed in ((), ("--signed",)):
        w.new_vault(*signed)
        bob = Person(w, f"bob{len(signed)}").is_contact()
        w.write("x", b"x" * 200_000)
        w.kluis("cp", "x", ":f/x")
        w.kluis("cp", "x", ":f/below")
        golden(w.kluis("check", "f/below"), err="kluis: checked 1 record (195.31 KiB), all good")
        golden(w.kluis("check", "f/below", "--quick"),
               err="kluis: checked headers and lengths of 1 record (195.31 KiB), all good")
        assert "checked 2 records" in w.kluis("check", "f/").err
        w.kluis("check", "f/y", code=16)
        w.kluis("cp", "x", ":one")
        bob.accept(w.kluis("share", "one", "bob" + str(len(signed))).out.strip())
        assert "checked 1 record (" in bob.kluis("check", "one").err
        bob.kluis("check", "two", code=16)
        (stored,) = [p for p in (w.path(w.url) / "o").rglob("*") if p.is_file() and p.stat().st_size > 200_000 and p.parent.name == "o"]
        content = stored.read_bytes()
        stored.write_bytes(content[:150_000] + b"?" + content[150_001:])
        for person in (w, bob):
            person.kluis("check", "one", code=13)
        assert "checked 1 record (" in w.kluis("check", "f/below").err
