"""Access given on: the owner, who was given it and who was given it on, each a process with a home of their own."""

from harness import Terminal, golden, test, test_on_each_store
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
    before = sorted(w.stored()) if w.url.startswith("file:") else None
    done = give_on(bob, "photos", carol, "--write", "--until", "2099-12-31", "--purpose", "prints")
    carols = done.out.strip()
    assert len(carols) == 32 and "until he files it (`kluis accept FILE`) they can only read" in done.err, done.err
    if before is not None:
        assert sorted(w.stored()) == before, "nothing is written to the store"

    # Carol sees who gave it before she accepts it, and reads at once.
    accepted = carol.accept("grant")
    for words in (owner, bob.words, "the owner has not filed it yet"):
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
    w.kluis("accept", "grant", "--yes", code=2)
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
    late = w.kluis("accept", "grant", "--yes", code=16)
    assert "taken back" in late.err, late.err
    assert w.kluis("shares").out == ""


@test
def what_may_not_be_given_on_is_not(w):
    _, bob, carol, _ = scene(w, "--reshare", "--purpose", "look")
    for wrong, code in (
        (("photos", "--write"), 15),
        (("photos", "--from-now"), 15),
        (("photos/sub/",), 2),
        (("nothing",), 16),
        ((":",), 2),
    ):
        give_on(bob, wrong[0], carol, *wrong[1:], code=code)
        assert not w.path("grant").exists(), wrong
    # Without a file, with a name, with other words, with no words and no terminal.
    bob.kluis("share", "photos", "carol.card", "--words", carol.words, code=2)
    bob.kluis("share", "photos", "carol", "--out", "grant", code=2)
    bob.kluis("share", "photos", "carol.card", "--words", bob.words, "--out", "grant", code=15)
    bob.kluis("share", "photos", "carol.card", "--out", "grant", code=2)
    assert not w.path("grant").exists()
    w.kluis("share", "photos", "bob", "--words", bob.words, code=2)
    # Once it is given without leave to go on, it does not.
    give_on(bob, "photos/cat.jpg", carol)
    carol.accept("grant")
    assert carol.kluis("cat", ":cat.jpg").out == "cat"
    dave = Person(w, "dave")
    give_on(carol, "cat.jpg", dave, out="next", code=15)
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
