"""Groups: one share serves all who are in them, each a process with a home of their own."""

import os
import re

from harness import S3, golden, test, test_on_each_store
from sharing import HANDING_OVER, TAKEN_BACK, WRITE_RESTS_ON, Person, own_words


def id_of(w, *fields):
    """The id of what `shares` lists with these fields."""
    (found,) = [m["id"] for m in w.kluis("shares", "--json").json() if all(m.get(k) == v for k, v in fields)]
    return found


@test_on_each_store
def the_story_of_a_group(w):
    w.new_vault()
    own_words(w)
    anna, bob = Person(w, "anna").is_contact(), Person(w, "bob").is_contact()
    s3 = w.store == "s3" and "KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID" in os.environ
    policy = [f"--policy={os.environ['KLUIS_TEST_S3_OTHER_ACCESS_KEY_ID']}"] if s3 else []
    for name in ("photos/old.jpg", "diary.txt"):
        w.write(name, f"content of {name}")
    w.kluis("cp", "-r", "photos", "diary.txt", ":")

    golden(w.kluis("group", "new", "team"), err="""
kluis: the group team is made; hint: `kluis group add` takes contacts into it, `kluis share` gives it access
""")
    golden(w.kluis("group", "list"), out="team: 0 members")
    (hers,) = w.kluis("group", "add", "team", "anna", "--json").json()
    assert hers["prefixes"]["write"] == [] and hers["prefixes"]["list"] == ["k/h", "k/l"], hers
    (shared,) = w.kluis("share", "photos/", "team", "--write", "--purpose", "the album", "--json", *policy).json()
    # Who comes later needs credentials that reach what the group was given.
    (his,) = w.kluis("group", "add", "team", "bob", "--json", *policy).json()
    assert his["prefixes"] == shared["prefixes"], (his, shared)
    if s3:
        for person in (anna, bob):
            person.has_own_credentials()
        S3().set_policy(w.url.removeprefix("s3://").split("/")[0], his["policy"])
    golden(w.kluis("group", "list"), out="""
team: 2 members
ID TIME the group team to anna
ID TIME the group team to bob
""")
    golden(w.kluis("shares"), out="""
ID TIME :photos to the group team: read and write, for "the album"
ID TIME the group team to anna
ID TIME the group team to bob
""")
    golden(w.kluis("group", "list", "--json"), out="""
{"message_type":"group","name":"team","created":"TIME","members":2}
{"message_type":"member","state":"given","id":"ID","group":"team","name":"anna","fingerprint":"WORDS-OF-ANNA","suite":"x-wing","since":"TIME"}
{"message_type":"member","state":"given","id":"ID","group":"team","name":"bob","fingerprint":"WORDS-OF-BOB","suite":"x-wing","since":"TIME"}
""")

    # The place in the group first.
    early = bob.kluis("accept", shared["invitation"], "--yes", code=13)
    assert "for a group in which you have not accepted your place" in early.err, early.err
    golden(bob.kluis("accept", his["invitation"], code=2), err="""
kluis: $VAULT offers a place in the group team
kluis: from WORDS-OF-THE-OWNER
kluis: these are the words that its owner sees in `kluis identity show`: compare them
kluis: accept it needs a confirmation; hint: say it on a terminal, or give --yes
""")
    for person, place in ((anna, hers), (bob, his)):
        done = person.accept(place["invitation"])
        assert done.out == "" and done.err.endswith("""
kluis: you are in the group team; hint: accept what it was given, by the invitations that are the same for all its members
"""), done.err
        golden(person.kluis("ls"))
        assert person.accept(shared["invitation"]).out == ":photos\n"
        golden(person.kluis("ls", "-r"), out="photos/old.jpg")
    golden(bob.kluis("shares"), out="""
ID :photos from WORDS-OF-THE-OWNER by the group team: read and write, for "the album"
ID the group team from WORDS-OF-THE-OWNER
""")
    bob.kluis("cp", "diary.txt", ":photos/bobs")
    assert anna.kluis("cat", "photos/bobs").out == "content of diary.txt"
    bob.kluis("cat", "team/x", code=16)
    rows = w.kluis("access", "photos", "--json").json()
    assert [(r["to"], r["group"], r["write"]) for r in rows[:-1]] == [("anna", "team", True), ("bob", "team", True)], rows
    assert w.kluis("access", "diary.txt", "--json").json()[-1]["items"] == 0

    # Bob is taken out.
    line = "kluis: takes back ID TIME the group team to bob"
    gets = "kluis: :photos and everything in it gets new keys, which go to the group team"
    golden(w.kluis("group", "remove", "team", "bob", code=2), err=f"""
{line}
{gets}
kluis: take bob out of the group team needs a confirmation; hint: say it on a terminal, or give --yes
""")
    done = w.kluis("group", "remove", "team", "bob", "--yes")
    w.known[done.out.strip()] = "PIN"
    assert re.search(r"at the most: 2 objects \(", done.err), done.err
    golden(done, out="PIN", err=f"{line}\n{gets}\n{TAKEN_BACK}\n" + done.err.splitlines()[-1])
    w.kluis("cp", "diary.txt", ":photos/new")
    bob.kluis("cat", "photos/new", code=15)
    bob.kluis("ls", code=15)
    assert anna.kluis("cat", "photos/new").out == "content of diary.txt"
    (was,) = [r for r in w.kluis("access", "photos", "--from", "2020-01-01", "--json").json() if r.get("to") == "bob"]
    assert was["ended"] and was["group"] == "team", was
    table = w.kluis("access", "photos", "--from", "2020-01-01").lines()
    assert table[0].split()[-1] == "group" and all(row.endswith("team") for row in table[1:]), table


@test
def what_a_group_cannot_be(w):
    w.new_vault()
    bob, carl = Person(w, "bob").is_contact(), Person(w, "carl")
    w.kluis("contact", "add", "carl", "carl.card")
    w.write("x", "x")
    w.kluis("cp", "x", ":photos/x")
    before = w.stored()
    for wrong in ("bob", "", "a/b", "a\nb", "x" * 256):
        w.kluis("group", "new", wrong, code=2)
    golden(w.kluis("group", "add", "team", "bob", code=16), err="""
kluis: no group is called team; hint: see `kluis group list`, or make one: `kluis group new NAME`
""")
    w.kluis("group", "remove", "team", "bob", "--yes", code=16)
    w.kluis("group", "add", "team", "bob", "--policy", code=2)
    w.kluis("group", code=2)
    golden(w.kluis("share", "photos", "team", code=16), err="""
kluis: no contact or group is called team; hint: see `kluis contact list` and `kluis group list`
""")
    assert w.stored() == before
    w.kluis("group", "new", "team")
    w.kluis("group", "new", "team", code=2)
    w.kluis("contact", "add", "team", "carl.card", code=2)
    # Only a verified contact.
    golden(w.kluis("group", "add", "team", "carl", code=15), err="""
kluis: carl is not verified; nothing was shared; hint: compare the 12 words with them: `kluis contact verify NAME`
""")
    golden(w.kluis("group", "add", "team", "bob", "--out", "place"), out="file://$DIR/vault1#ID/ID/ID", err="""
kluis: what their own credentials of the store have to reach, below the vault:
kluis:   read: kluis.vault, k/header, k/h, k/l, k/g
kluis:   list: k/h, k/l
kluis: the grant was written to place
kluis: bob is in the group team, and reaches what it was ever given; grant ID; hint: hand the invitation over on a way that the provider does not control, and then those of what the group was given
""")
    w.kluis("group", "add", "team", "bob", code=2)
    w.kluis("group", "remove", "team", "carl", "--yes", code=16)
    shared = w.kluis("share", "photos", "team").out.strip()
    w.kluis("share", "photos", "bob")
    # Another road is named, and both are taken back together.
    kept = w.kluis("group", "remove", "team", "bob", "--yes", code=2)
    assert "keeps access by another grant" in kept.err, kept.err
    own, place = id_of(w, ("to", "bob")), id_of(w, ("name", "bob"))
    kept = w.kluis("revoke", own, "--yes", code=2)
    assert 'by the group "team"' in kept.err, kept.err
    bob.accept("place")
    bob.accept(shared)
    golden(bob.kluis("accept", "--forget", "team"), err="""
kluis: team is forgotten on this device; hint: accept it again with its invitation
kluis: photos is forgotten on this device; hint: accept it again with its invitation
""")
    bob.kluis("shares", code=15)
    bob.accept("place")
    done = w.kluis("revoke", own, place, "--yes", "--no-receipt", "--json")
    assert [m.get("state") for m in done.json()] == ["revoked", "revoked", None], done.out
    bob.kluis("ls", code=15)
    # A name that would write to the terminal does not.
    w.kluis("group", "new", "evil\u202eeman")
    assert "\u202e" in w.kluis("group", "list").out
    golden(w.kluis("group", "list", "--json").json()[1]["name"] and w.kluis("group", "list"), out="""
evil\u202eeman: 0 members
team: 0 members
""")
