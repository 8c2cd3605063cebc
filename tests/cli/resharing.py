"""Access given on: the owner, who was given it and who was given it on, each a process with a home of their own."""

import json
import os
import shutil

from harness import S3, Terminal, golden, test, test_on_each_store
from sharing import Person, own_words


def scene(w, *options):
    """The owner shares photos with bob, who accepts; carol has an identity."""
    w.new_vault()
    owner = own_words(w)
    w.write("cat", b"cat")
    w.kluis("cp", "cat", ":photos/cat.jpg")
    bob, carol = Person(w, "bob").is_contact(), Person(w, "carol")
    (given, *_) = w.kluis("share", "photos", "bob", *options, "--json").json()
    bob.accept(given["invitation"])
    return owner, bob, carol, given["grant"]


def give_on(person, path, to, *options, out="grant", **kwargs):
    return person.kluis("share", path, f"{to.name}.card", "--words", to.words, "--out", out, *options, **kwargs)


@test_on_each_store
def what_was_shared_is_given_on_filed_and_falls_with_what_it_hangs_below(w):
    owner, bob, carol, grant = scene(w, "--write", "--reshare")
    before = w.stored()
    done = give_on(bob, "photos", carol, "--write", "--until", "2099-12-31", "--purpose", "prints")
    carols = done.out.strip()
    assert len(carols) == 32 and "until he files it (`kluis accept FILE`) they can only read" in done.err, done.err
    assert w.stored() == before, "nothing is written to the store"
    folder = next(key for key in done.err.split() if key.startswith("o/"))
    assert f"write and delete: {folder}\n" in done.err, done.err

    # Carol sees who gave it before she accepts it, and reads at once.
    accepted = carol.accept("grant")
    whose = f"from {bob.words}, who has it from {owner}, the owner of the vault"
    for words in (whose, "the words that each of them sees", "the owner has not filed it yet"):
        assert words in accepted.err, accepted.err
    assert carol.kluis("cat", ":photos/cat.jpg").out == "cat"
    refused = carol.kluis("cp", "cat", ":photos/hers", code=15)
    assert "waits for the owner of the vault to file it" in refused.err, refused.err
    (received,) = carol.kluis("shares", "--json").json()
    assert received["unfiled"] and received["grantor"] == bob.words, received
    assert received["chain"] == [{"grantor": owner, "id": grant}], received

    # The owner sees who gave what to whom.
    filed = w.kluis("accept", "grant", "--yes")
    assert "bob gave :photos of" in filed.err and carol.words in filed.err, filed.err
    assert "carol (says bob)" in filed.out and f"given on from {grant}" in filed.out, filed.out
    assert f"write and delete: {folder}" in filed.err, filed.err
    golden(w.kluis("accept", "grant", "--yes", code=2), err="""
kluis: this grant is filed already; hint: see `kluis shares`
""")
    carol.kluis("cp", "cat", ":photos/hers")
    assert "unfiled" not in carol.kluis("shares", "--json").json()[0]
    rows = w.kluis("access", "photos", "--json").json()[:-1]
    assert [(row["to"], row["by"]) for row in rows] == [("bob", "owner"), ("carol (says bob)", "bob")], rows
    given = {g["id"]: g for g in w.kluis("shares", "--json").json()}
    assert given[carols]["parent"] == grant and given[grant]["reshare"] and "reshare" not in given[carols]
    assert "may give it on" in w.kluis("access", "photos").out

    # Taking it back from bob says that carol falls too, and does it in one.
    revoked = w.kluis("revoke", grant, "--yes", "--no-receipt")
    assert f"and with it, because it was given on: {carols}" in revoked.err, revoked.err
    w.kluis("cp", "cat", ":photos/late")
    for person in (bob, carol):
        person.kluis("cat", ":photos/late", code=15)
        person.kluis("cat", ":photos/cat.jpg", code=15)
    golden(w.kluis("accept", "grant", "--yes", code=16), err="""
kluis: nothing at the place of the grant above it, which was taken back, has ended, or was itself given on and is to be filed first; hint: file that one first, or have this one given on again
""")
    assert w.kluis("shares").out == ""


@test
def what_may_not_be_given_on_is_not(w):
    _, bob, carol, _ = scene(w, "--reshare", "--purpose", "look")
    stay = "hint: what you have of :photos: read, and may give it on, for \"look\"; stay within it"
    for wrong, code, why in (
        (("photos", "--write"), 15, stay),
        (("photos", "--from-now"), 15, stay),
        (("photos/sub/",), 2, "hint: give on what `kluis shares` lists"),
        (("nothing",), 16, ""),
        ((":",), 2, ""),
    ):
        done = give_on(bob, wrong[0], carol, *wrong[1:], code=code)
        assert why in done.err, done.err
        assert not w.path("grant").exists(), wrong
    # Without a file, with a name, with other words, with too few, with none and no terminal.
    share = ("share", "photos", "carol.card")
    bob.kluis(*share, "--words", carol.words, code=2)
    bob.kluis(*share, "--words", carol.words, "--out", "-", code=2)
    bob.kluis("share", "photos", "carol", "--out", "grant", code=2)
    bob.kluis("share", "photos", "-", "--words", carol.words, "--out", "grant", code=2)
    bob.kluis(*share, "--words", bob.words, "--out", "grant", code=15)
    golden(bob.kluis(*share, "--words", "one two", "--out", "grant", code=2), err="""
kluis: a fingerprint has 12 words, and these are 2; hint: give all of them, in their order
""")
    golden(bob.kluis(*share, "--out", "grant", code=2), err="""
kluis: there are 12 words to compare, and no terminal to ask for them on; hint: give them with --words, in quotes, as their owner reads them out
""")
    assert not w.path("grant").exists() and not w.path("-").exists()
    w.kluis("share", "photos", "bob", "--words", bob.words, code=2)
    # Once it is given without leave to go on, it does not.
    give_on(bob, "photos/cat.jpg", carol)
    carol.accept("grant")
    assert carol.kluis("cat", ":cat.jpg").out == "cat"
    dave = Person(w, "dave")
    give_on(carol, "cat.jpg", dave, out="next", code=15)
    # An invitation is no file: the letter lies in no store.
    (given,) = give_on(bob, "photos", dave, "--json", out="daves").json()
    none = dave.kluis("accept", given["invitation"], "--yes", code=16)
    assert "accepted from the file" in none.err, none.err
    dave.accept("daves")
    # For the owner it is nothing of another vault's, and a file that was given by him holds nothing to file.
    w.kluis("share", "photos", "bob", "--out", "own")
    none = w.kluis("accept", "own", "--yes", code=2)
    assert "--identity" in none.err, none.err
    # Filed under a name of the owner's choice; what it is asked on a terminal can be declined.
    terminal = Terminal(w, "accept", "grant", "--as", "Carol of sales")
    terminal.expect("Carol of sales")
    terminal.expect("file it")
    terminal.say("n\r")
    terminal.end(2)
    assert len(w.kluis("shares", "--json").json()) == 2
    w.kluis("accept", "grant", "--yes", "--as", "Carol of sales")
    (filed,) = [g for g in w.kluis("shares", "--json").json() if "parent" in g]
    assert (filed["to"], filed["path"], filed["kind"]) == ("Carol of sales", "photos/cat.jpg", "object"), filed


@test
def a_name_that_somebody_else_chose_does_nothing_to_a_terminal(w):
    _, bob, carol, _ = scene(w, "--reshare")
    evil = "evil\u202egpj"
    w.path("carol.card").rename(w.path(f"{evil}.card"))
    bob.kluis("share", "photos", f"{evil}.card", "--words", carol.words, "--out", "grant")
    filed = w.kluis("accept", "grant", "--yes")
    assert "\u202e" not in filed.err and "evil" in filed.err, filed.err
    terminal = Terminal(w, "shares")
    terminal.expect("evil\\u{202e}gpj")
    terminal.end(0)


@test
def what_a_group_was_given_is_not_given_on(w):
    _, bob, carol, _ = scene(w)
    w.kluis("group", "new", "team")
    w.kluis("share", "photos", "team", "--reshare", code=2)
    bob.accept(w.kluis("group", "add", "team", "bob").out.strip())
    bob.accept(w.kluis("share", "photos", "team").out.strip(), "--as", "theirs")
    golden(give_on(bob, "theirs", carol, code=15), err="""
kluis: :theirs: no access to theirs: what a group was given is not given on, for nobody in it can sign for the group; ask the owner of the vault to share it; hint: ask the vault's owner: they decide who has access, and until when
""")


@test
def the_owner_files_in_his_own_vault_whatever_address_the_file_has(w):
    _, bob, carol, _ = scene(w)
    (given, *_) = w.kluis("share", "photos", "bob", "--reshare", "--json").json()
    shutil.copytree(w.url, w.path("copy"))
    bob.kluis("accept", given["invitation"], "--yes", "--vault", "./copy")
    give_on(bob, "photos", carol, env={"KLUIS_VAULT": "./copy"})
    before = w.tree("copy")
    stray = bob.kluis("accept", "grant", "--yes", code=13)
    for words in ("the owner of the vault files it without an identity", "KLUIS_IDENTITY is set"):
        assert words in stray.err, stray.err
    none = w.kluis("accept", "grant", "--yes", code=2, env={"KLUIS_VAULT": None})
    assert "no vault was named" in none.err, none.err
    own, other = w.url, w.path("other")
    w.kluis("init", other)
    w.kluis("accept", "grant", "--yes", "--vault", other, code=15)
    w.kluis("accept", "grant", "--yes", "--vault", f"{own}#{'0' * 32}", code=15)
    (filed,) = w.kluis("accept", "grant", "--yes", "--json").json()
    assert filed["state"] == "filed" and filed["parent"] == given["grant"], filed
    assert filed["prefixes"]["write"] == [] and len(filed["prefixes"]["list"]) == 3, filed
    assert len(w.kluis("shares", "--json").json()) == 3
    assert w.tree("copy") == before


@test
def an_owners_device_files_too(w):
    _, bob, carol, _ = scene(w, "--reshare")
    laptop = Person(w, "laptop")
    w.kluis("device", "enrol", "laptop.card", "--yes")
    give_on(bob, "photos", carol)
    laptop.kluis("accept", "grant", "--yes", env={"KLUIS_VAULT": w.url})
    assert len(w.kluis("shares", "--json").json()) == 2


@test
def x25519_alone_is_said_to_who_gives_on_and_to_the_owner(w):
    _, bob, _, _ = scene(w, "--reshare")
    old = Person(w, "old", "--classical")
    give_on(bob, "photos", old, code=15)
    for done in (give_on(bob, "photos", old, "--allow-classical"), w.kluis("accept", "grant", "--yes", "-q")):
        assert "sealed with x25519 alone" in done.err, done.err
    assert "(classical, given on from" in w.kluis("shares").out


@test_on_each_store
def who_is_given_something_on_has_credentials_of_their_own(w):
    _, bob, carol, _ = scene(w, "--reshare")
    if w.store == "folder":
        give_on(bob, "photos", carol, "--policy", code=2)
        return
    other = os.environ["KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID"]
    carol.has_own_credentials()
    done = give_on(bob, "photos", carol, f"--policy={other}")
    carol.kluis("accept", "grant", "--yes", code=15)
    _, policy = done.out.split("\n", 1)
    S3().set_policy(w.url.removeprefix("s3://").split("/")[0], json.loads(policy))
    carol.accept("grant")
    assert carol.kluis("cat", ":photos/cat.jpg").out == "cat"
