"""Links: the owner, and Carol, who has a URL and nothing else."""

import http.server
import os
import re
import threading
import time

from harness import S3, Terminal, golden, test, test_on_each_store
from sharing import Person

# No home, no account, no vault: what somebody has who was sent a link.
NOBODY = {"HOME": None, "KLUIS_PASSWORD_FILE": None, "KLUIS_VAULT": None}


def carol(w, *args, **kwargs):
    """Runs the command with no credentials at all."""
    nothing = {name: None for name in w.env if name != "PATH" and not name.endswith("_PROXY")}
    return w.kluis(*args, env={**nothing, **NOBODY, **kwargs.pop("env", {})}, **kwargs)


def photos(w):
    w.new_vault()
    w.known[w.url] = "$VAULT"
    for name in ("photos/old.jpg", "photos/2026/cat.jpg", "photos/" + "n" * 200, "diary.txt"):
        w.write(name, f"content of {name}")
    w.kluis("cp", "-r", "photos", ":photos")
    w.kluis("cp", "diary.txt", ":")
    w.path("photos").rename(w.path("source"))


def create(w, *args):
    """The URL, which is all that stands on stdout, and the id."""
    done = w.kluis("link", "create", *args)
    (url,) = done.lines()
    assert "#" in url and url.split("#")[1] not in done.err and url not in done.err, done.err
    return url, re.search(r"link ([0-9a-f]{32});", done.err).group(1)


@test_on_each_store
def the_story_of_a_link(w):
    photos(w)
    signed = w.store == "s3"
    url, link = create(w, "photos", "--purpose", "the album")
    until = ", until TIME, delivered by the store" if signed else ""
    line = f'ID TIME :photos{until}, for "the album"'
    golden(w.kluis("link", "list"), out=line)
    (listed,) = w.kluis("link", "list", "--json").json()
    assert listed.keys() == {"message_type", "state", "id", "path", "kind", "presigned", "password", "purpose", "made"} | (
        {"until"} if signed else set()), listed
    assert (listed["id"], listed["path"], listed["presigned"]) == (link, "photos", signed)
    # Whoever has it has access, by the statement too.
    access, statement = w.kluis("access", "photos/old.jpg", "--json").json()
    assert (access["id"], access["kind"], access["path"], access["write"]) == (link, "link", "photos", False), access
    assert statement["items"] == 1
    assert "whoever has the link,,link,:photos,read" in w.kluis("access", "--csv").out
    # Everything in it, nothing beside it, by the argument or by stdin.
    golden(carol(w, "get", url), err="kluis: copied 3 files (273 B)\nkluis: they are in photos")
    carol(w, "get", "-", "out/deep", stdin=url.encode() + b"\n")
    expected = {name: content for name, (content, _) in w.tree("source").items()}
    for folder in ("photos", "out/deep"):
        assert {name: content for name, (content, _) in w.tree(folder).items()} == expected
    assert carol(w, "get", url, "--json").json()[-1]["skipped"] == 3
    w.write("photos/old.jpg", "mine")
    carol(w, "get", url, code=3)
    assert w.read("photos/old.jpg") == b"mine"
    carol(w, "get", url, "--overwrite")
    assert w.read("photos/old.jpg") == b"content of photos/old.jpg"
    assert "would have been" in carol(w, "get", url, "-n", "nowhere").err and not w.path("nowhere").exists()
    # Nothing is written through what lies there already.
    w.path("elsewhere").mkdir()
    w.path("trap").mkdir()
    w.path("trap/2026").symlink_to(w.path("elsewhere"))
    carol(w, "get", url, "trap", code=3)
    assert not any(w.path("elsewhere").iterdir()) and w.read("trap/old.jpg")

    # The record is changed: nothing comes.
    names = [key for key in w.stored() if "/g/" in key or key.startswith("k/g/")]
    assert len(names) == 1, names
    record = w.stored()[names[0]]
    put_back(w, names[0], record[:-1] + bytes([record[-1] ^ 1]))
    golden(carol(w, "get", url, "changed", code=13), err="""
kluis: the link was altered or damaged in the store after it was written; hint: nothing of it was released; ask whoever gave it to you
""")
    assert not w.path("changed").exists()
    put_back(w, names[0], record)

    # Withdrawn.
    second, beside = create(w, "photos/2026")
    golden(w.kluis("link", "revoke", link, code=2), err=f"""
kluis: withdraws {line}
kluis: :photos and everything in it gets new keys, which go to nobody else
kluis: whoever has link ID still reads :photos/2026{', until TIME' if signed else ''}
kluis: withdraw the link to :photos needs a confirmation; hint: say it on a terminal, or give --yes
""")
    w.kluis("link", "revoke", link[:3], "--yes", code=2)
    w.kluis("link", "revoke", "ffffffff", "--yes", code=16)
    done, pin, receipt = w.kluis("link", "revoke", link[:8], "--yes", "--json").json()
    assert (done["state"], done["id"], "url" in done) == ("withdrawn", link, False)
    # By the same pin and receipt as those of `revoke`.
    assert (receipt["path"], receipt["objects"], receipt["links"]) == ("photos", 3, [beside]), receipt
    w.kluis("--pin", pin["pin"], "ls")
    assert [info["id"] for info in w.kluis("link", "list", "--json").json()] == [beside]
    golden(carol(w, "get", url, "late", code=15), err="""
kluis: no access to what the link led to: it was withdrawn, or has ended; hint: ask whoever gave it to you for a new link; one that names a store takes credentials that read there
""")
    w.kluis("link", "revoke", link, "--yes", code=16)
    # A store that puts the record back hands out nothing that was written since.
    w.write("new.jpg", "new")
    w.kluis("cp", "new.jpg", ":photos/2026/cat.jpg", "--overwrite")
    put_back(w, names[0], record)
    carol(w, "get", url, "again", code=13)
    assert "2026/cat.jpg" not in w.tree("again")
    # The next of the owner's commands removes it again.
    w.kluis("reencrypt", "photos")
    carol(w, "get", url, "late", code=15)
    put_back(w, names[0], record)
    carol(w, "get", url, "after", code=13)
    assert not w.tree("after")
    carol(w, "get", second, "second")
    done = w.kluis("link", "revoke", beside, "--yes", "--no-receipt")
    assert re.fullmatch(r"[0-9a-f]{32}/[0-9]+/[0-9a-f]{64}\n", done.out) and "at the most" not in done.err, done.err
    golden(w.kluis("link", "list"))
    carol(w, "get", second, "late", code=15)


def put_back(w, name, content):
    if w.store == "folder":
        path = w.path(w.url) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    else:
        S3().request("PUT", f"/{w.url.removeprefix('s3://').split('/')[0]}/{name}", body=content)


@test_on_each_store
def a_link_goes_into_no_hidden_folder_unasked(w):
    photos(w)
    # Its name is chosen by whoever made it: where programs look for orders it does not go unasked.
    w.write("hidden/authorized_keys", "mine")
    w.kluis("cp", "-r", "hidden", ":.ssh")
    hidden = w.kluis("link", "create", ".ssh").out.strip()
    assert "hidden folder" in carol(w, "get", hidden, code=2).err
    assert not (w.dir / ".ssh").exists()
    carol(w, "get", hidden, "got")
    assert w.read("got/authorized_keys") == b"mine"


@test_on_each_store
def a_link_says_what_it_is(w):
    photos(w)
    signed = w.store == "s3"
    done = w.kluis("link", "create", "photos")
    w.known[done.out.strip()] = "URL"
    delivery = """
kluis: server-enforced: the store delivers the 3 objects that are there now, to whoever has the URL and without an account, until TIME
""" if signed else """
kluis: the URL names the store: to read takes credentials of one's own that read there
"""
    golden(done, out="URL", err=f"""
kluis: linked :photos; link ID; whoever has this URL can read, and hand it on; hint: give it on a way that only they read
{delivery.strip()}
kluis: cryptography ends it, for what is written from then on, with `kluis link revoke ID`
""")
    (made,) = w.kluis("link", "create", "photos", "--json", "-q").json()
    assert made["state"] == "made" and made["url"].count("#") == 1 and made["objects"] == (3 if signed else 0), made
    # The whole vault asks.
    golden(w.kluis("link", "create", ":", code=2), err="""
kluis: this gives everything in the vault, now and later, to whoever will have the URL
kluis: make a link to the whole vault needs a confirmation; hint: say it on a terminal, or give --yes
""")
    whole, _ = create(w, ":", "--yes", "--no-presign")
    assert whole.startswith("file://" if w.store == "folder" else w.url)
    w.kluis("get", whole)
    assert sorted(w.tree("vault")) == sorted(["diary.txt", *(f"photos/{name}" for name in w.tree("source"))])
    w.kluis("link", "create", code=2)
    for wrong in ("", "1", "8x", "0d", "-1d"):
        w.kluis("link", "create", "photos", f"--expires={wrong}", code=2)
    if signed:
        assert "at most 7 days" in w.kluis("link", "create", "photos", "--expires", "8d", code=2).err
        # The URL that names the store is for those with credentials.
        carol(w, "get", whole, "denied", code=17, env={"AWS_EC2_METADATA_DISABLED": "true"})
    # What is no link is said to be none, before anything is asked for.
    for wrong in ("", "-", "photos", w.address, whole.split("#")[0], whole[:-1], whole + "A", "https://example.org/#x"):
        assert "copy all of it" in carol(w, "get", wrong, code=2).err, wrong
    head, fragment = whole.split("#")
    assert "update Kluis" in carol(w, "get", f"{head}#B{fragment[1:]}", code=13).err


@test_on_each_store
def a_link_to_an_object_is_one_file(w):
    photos(w)
    signed = w.store == "s3"
    url, link = create(w, "photos/2026/cat.jpg")
    until = ", until TIME, delivered by the store" if signed else ""
    golden(w.kluis("link", "list"), out=f"ID TIME :photos/2026/cat.jpg (object){until}")
    (listed,) = w.kluis("link", "list", "--json").json()
    assert (listed["kind"], listed["path"]) == ("object", "photos/2026/cat.jpg"), listed
    assert ":photos/2026/cat.jpg (object)" in w.kluis("access", "photos/2026/cat.jpg").out
    assert w.kluis("access", "photos/old.jpg", "--json").json()[0]["items"] == 0
    if signed:
        (made,) = w.kluis("link", "create", "photos/old.jpg", "--json", "-q").json()
        assert made["objects"] == 1, made
    content = b"content of photos/2026/cat.jpg"
    # Its own name here, another, in a folder, and on stdout.
    golden(carol(w, "get", url), err="kluis: copied 1 file (30 B)\nkluis: it is cat.jpg")
    w.path("folder").mkdir()
    carol(w, "get", url, "other.jpg")
    carol(w, "get", url, "folder")
    carol(w, "get", url, "new/")
    for name in ("cat.jpg", "other.jpg", "folder/cat.jpg", "new/cat.jpg"):
        assert w.read(name) == content, name
    assert sorted(w.tree("new")) == ["cat.jpg"]
    assert carol(w, "get", url, "-").out == content.decode()
    assert carol(w, "get", "-", "-", stdin=url.encode() + b"\n").out == content.decode()
    assert carol(w, "get", url, "-", "-n").out == ""
    assert carol(w, "get", url, "--json").json()[-1]["skipped"] == 1
    w.write("cat.jpg", "mine")
    carol(w, "get", url, code=14)
    assert w.read("cat.jpg") == b"mine"
    carol(w, "get", url, "-n", "nowhere/cat.jpg")
    assert not w.path("nowhere").exists()
    # A folder is not one object.
    folder, _ = create(w, "photos")
    golden(carol(w, "get", folder, "-", code=2), err="""
kluis: it leads to a folder, and `-` takes one object; hint: name a folder for it to go to
""")
    # What is written in its place is what the link leads to.
    w.write("next", "next")
    w.kluis("cp", "next", ":photos/2026/cat.jpg", "--overwrite")
    assert carol(w, "get", url, "-").out == "next"
    # No file that programs look for orders in goes where nobody said.
    w.write("rc", "evil")
    w.kluis("cp", "rc", ":photos/.bashrc")
    hidden, _ = create(w, "photos/.bashrc")
    for where in ((), (".",), ("folder",)):
        assert "hidden file" in carol(w, "get", hidden, *where, code=2).err
    carol(w, "get", hidden, "rc.txt")
    assert w.read("rc.txt") == b"evil" and not w.path(".bashrc").exists()
    # Withdrawn.
    done = w.kluis("link", "revoke", link, "--yes")
    w.known[done.out.strip()] = "PIN"
    delivers = """
kluis: the store goes on to deliver what it signed, until that time is over; what is written again, it delivers sealed with keys that the link does not give""" if signed else ""
    end = f"{', until TIME' if signed else ''}"
    others = f"\nkluis: whoever has link ID still reads :photos{end}"
    golden(done, out="PIN", err=f"""
kluis: withdraws ID TIME :photos/2026/cat.jpg (object){until}
kluis: what :photos/2026/cat.jpg lies in gets new keys, for all who remain{others}
kluis: withdrawn: what is written from now on, by clients that know of it, is out of reach; what was written before stays readable to whoever has opened the link and gets at the bytes, until it is written again; hint: give the pin above to programs that keep no state{delivers}{others}
kluis: what can still be read of :photos/2026/cat.jpg with what was taken back, at the most: 1 object (4 B), as of entry {5 if signed else 4} of the ledger, and what the store kept of the past; hint: `kluis reencrypt :photos/2026/cat.jpg` writes it again, and then it is nothing
""")
    carol(w, "get", url, "late", code=15)
    assert not w.path("late").exists()


@test_on_each_store
def a_link_with_a_password(w):
    photos(w)
    w.write("secret", "open sesame\n")
    w.write("wrong", "open sesam\n")
    url, _ = create(w, "photos", "--link-password-file", "secret")
    assert "with a password" in w.kluis("link", "list").out
    assert "password" in carol(w, "get", url, code=2).err
    golden(carol(w, "get", url, "--password-file", "wrong", code=12), err="""
kluis: wrong password of the link; hint: ask whoever gave it to you; it is not the password of a vault
""")
    assert not w.path("home/photos").exists()
    carol(w, "get", url, "out", "--password-file", "secret")
    assert sorted(w.tree("out")) == sorted(w.tree("source"))
    w.kluis("link", "create", "photos", "--password", code=2)
    w.kluis("link", "create", "photos", "--password", "--link-password-file", "secret", code=2)
    t = Terminal(w, "link", "create", "photos", "--password", "--no-presign")
    for question in ("Password of the link: ", "The same again: "):
        t.expect(question)
        t.say("typed\n")
    url = re.search(r"\S+#\S+", t.end(0)).group(0)
    w.write("typed", "typed\n")
    w.kluis("get", url, "typed-out", "--password-file", "typed")


@test_on_each_store
def a_link_ends_when_its_time_is_over(w):
    photos(w)
    url, _ = create(w, "photos", "--expires", "1s")
    time.sleep(2.1)
    carol(w, "get", url, "out", code=15)
    assert not w.path("out").exists()
    # The next write of the owner's withdraws it.
    w.kluis("cp", "diary.txt", ":photos/")
    golden(w.kluis("link", "list"))


class Recorder(http.server.BaseHTTPRequestHandler):
    """A server that answers with what it is told, and keeps what it is asked."""

    asked, answer = [], (200, {}, b"")

    def do_GET(self):
        self.asked.append((self.path, dict(self.headers)))
        status, headers, body = self.answer
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@test_on_each_store
def nobody_else_is_asked_and_no_secret_is_sent(w):
    photos(w)
    url, _ = create(w, "photos")
    name = next(key for key in w.stored() if "k/g/" in key)
    record = w.stored()[name]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        fragment = url.split("#")[1]
        here = f"http://127.0.0.1:{server.server_port}"
        link = f"{here}/record?signature=canary#{fragment}"
        Recorder.asked, Recorder.answer = [], (200, {}, record)
        if w.store == "s3":
            # A record that leads to another server than its link does.
            golden(carol(w, "get", link, "out", code=13), err="""
kluis: Operation not supported: the link leads to another server than its own; hint: do not use it; ask whoever gave it to you
""")
        else:
            # One that holds no URLs: there is nothing that the server hands out.
            carol(w, "get", link, "out")
        ((path, headers),) = Recorder.asked
        assert path == "/record?signature=canary", path
        names = {name.lower() for name in headers}
        assert names <= {"accept", "host", "user-agent"}, headers
        assert headers["user-agent"].startswith("kluis/"), headers
        secret = fragment[2:40]
        assert not any(secret in text for text in (path, *headers.values()))
        # Redirections are not followed, wherever they lead.
        for target in (f"{here}/other?x", "file:///etc/passwd", "http://127.0.0.1:1/x?y"):
            Recorder.asked, Recorder.answer = [], (302, {"Location": target}, b"")
            done = carol(w, "get", link, "out2", code=17)
            assert len(Recorder.asked) == 1 and not w.path("out2").exists()
            assert "canary" not in done.err and secret not in done.err and "record" not in done.err, done.err
        # Whatever it answers is bounded, and no error shows the URL.
        for answer, code in (((404, {}, b""), 15), ((403, {}, b"canary"), 15), ((500, {}, b"x"), 17),
                             ((200, {}, b""), 13), ((200, {}, record[:-1]), 13), ((200, {}, record * 2), 13),
                             ((200, {"Content-Length": str(1 << 62)}, b"KLL1"), 17)):
            Recorder.answer = answer
            done = carol(w, "get", link, "out3", "--json", code=code)
            text = done.out + done.err
            assert "signature" not in text and secret not in text, text
        assert not w.path("out3").exists()
    finally:
        server.shutdown()


@test
def what_is_behind_the_hash_is_not_shown(w):
    w.new_vault()
    w.write("x", "x")
    w.kluis("cp", "x", ":f/x")
    canary = "SECRETcanary_0123-456"
    link = f"https://bucket.example.com/p/k?X-Amz-Signature=0#{canary}"
    before = w.stored()
    for args in (("ls", link), ("ls", f":{link}"), ("ls", f"f/{link}"), ("cat", link), ("stat", link), ("rm", link),
                 ("rm", "-r", link, "--yes"), ("mv", link, "y"), ("mv", "f/x", link), ("check", link), ("cp", link, ":y"),
                 ("cp", "-r", link, ":"), ("cp", ":f/x", link), ("cp", "x", link), ("share", link, "bob"),
                 ("share", "f", link), ("link", "create", link), ("link", "revoke", link, "--yes"), ("revoke", link),
                 ("lease", link), ("lease", "f", link), ("access", link), ("reencrypt", link), ("accept", link, "--identity", "x"),
                 ("ls", "--vault", link), ("init", link), ("init", f"./{link}/x"), ("contact", "add", "bob", link),
                 ("identity", "show", link), ("identity", "new", link), ("device", "enrol", link), ("recovery", "restore", link),
                 ("recovery", "export", link), (link,), ("ls", "f", link), ("get", f":{link}"), ("ls", f"--{link}"),
                 ("ls", "--identity", link), ("ls", "--password-file", link), ("ls", "--pin", link), ("share", "f", "bob", "--out", link)):
        for json in ((), ("--json",)):
            code = w.ends(*args, *json)
            assert code.code != 0, args
            assert canary not in code.out + code.err, (args, code.out, code.err)
    golden(w.kluis("ls", link, code=2), err="""
kluis: https://bucket.example.com/p/k?\u2026: this is a URL, and a path belongs here; hint: a link is read with `kluis get`, an invitation accepted with `kluis accept`, and a vault named with --vault
""")
    assert "`kluis get`" in w.kluis("ls", "--vault", link, code=2).err
    assert w.stored() == before
    assert not [p for p in w.dir.rglob("*") if canary in str(p)]


@test
def an_id_of_the_other_kind_names_the_other_command(w):
    w.new_vault()
    Person(w, "bob").is_contact()
    w.kluis("group", "new", "team")
    w.write("x", "x")
    w.kluis("cp", "x", ":f/x")
    (grant,) = w.kluis("share", "f", "bob", "--json").json()
    (place,) = w.kluis("group", "add", "team", "bob", "--json").json()
    (made,) = w.kluis("link", "create", "f", "--json").json()
    for one in (grant, place):
        golden(w.kluis("link", "revoke", one["grant"], "--yes", code=16), err="""
kluis: no link in force begins with ID; hint: it is a grant: `kluis revoke ID`
""")
    golden(w.kluis("revoke", made["id"], "--yes", code=16), err="""
kluis: no grant in force begins with ID; hint: it is a link: `kluis link revoke ID`
""")
    w.kluis("link", "revoke", "", "--yes", code=2)
