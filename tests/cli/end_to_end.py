"""What docs/CLI.md promises, held against the real command."""

import os
import pty
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import groups  # noqa: F401  its tests run with these
import links  # noqa: F401  and these
import resharing  # noqa: F401  and these
import sharing  # noqa: F401  and these
from harness import KLUIS, PASSWORD, Terminal, golden, main, test, test_on_each_store
from sharing import Person

CANARY = b"the quick brown canary jumps over the lazy store "


# ------------------------------------------------------------ golden: verbs


@test_on_each_store
def init_prints_the_address(w):
    w.new_vault()
    assert re.fullmatch(r"(file|s3)://.*#[0-9a-f]{32}", w.address), w.address
    if w.store == "folder":
        assert w.address.startswith(f"file://{w.url}#"), w.address
    assert "exists already" in w.kluis("init", w.url, code=14).err
    # By its address another vault is refused before the password is touched.
    other = w.address[:-1] + ("0" if w.address[-1] != "0" else "1")
    assert "expected vault" in w.kluis("ls", "--vault", other, "--password-file", w.write("wrong", "x"), code=15).err
    golden(w.kluis("ls", "--vault", w.address))


@test
def init_golden(w):
    done = w.kluis("init", "./v")
    golden(done, out="file://$DIR/v#ID", err="""
kluis: the vault is ready; hint: keep this address, with its #id, and add a second way in: `kluis key add --new-recovery-phrase`
""")
    golden(w.kluis("init", "./w", "-q", "--kdf", "mobile", "--padded"), out="file://$DIR/w#ID")
    (made,) = w.kluis("init", "./x", "--json").json()
    assert made.keys() == {"message_type", "address", "id"} and made["address"].endswith("#" + made["id"])
    w.kluis("init", done.out.strip(), code=2)
    w.kluis("init", code=2)
    golden(w.kluis("init", "name", code=2), err="""
kluis: no vault is called name; hint: add [vault.name] with its url to ~/.config/kluis/config.toml; for a folder write ./name
""")
    # One folder, however it is written.
    for same in ("./v", "./v/", f"{w.dir}/v", f"file://{w.dir}/v", f"file://{w.dir}/v/"):
        w.kluis("ls", "--vault", same)
    # Known by one address, so that another vault there is noticed however it is written.
    w.path("sub/deeper").mkdir(parents=True)
    w.path("v").rename(w.path("moved"))
    w.path("x").rename(w.path("v"))
    for same in ("../v", "deeper/../../v", "./deeper/.././../v"):
        w.kluis("ls", "--vault", same, cwd=w.path("sub"), code=15)
    w.kluis("ls", env={"KLUIS_VAULT": "../v/../v"}, cwd=w.path("sub"), code=15)
    golden(w.kluis("init", "../v9", cwd=w.path("sub")), out="file://$DIR/v9#ID", err="""
kluis: the vault is ready; hint: keep this address, with its #id, and add a second way in: `kluis key add --new-recovery-phrase`
""")
    golden(w.kluis("init", "~/vault", "-q"), out="file://$DIR/home/vault#ID")
    w.kluis("ls", "--vault=~/vault", "-q")


@test
def only_a_colon_means_everything(w):
    w.new_vault()
    Person(w, "bob").is_contact()
    w.write("x", "x")
    w.kluis("cp", "x", ":f/x")
    before = w.stored()
    for nothing, shown in (("", "an argument is empty"), ("/", "/: it is no path in a vault")):
        for args in (["rm", "-r", nothing, "--yes"], ["mv", "f", nothing], ["mv", nothing, "f"], ["share", nothing, "bob", "--yes"],
                     ["link", "create", nothing, "--yes"], ["lease", nothing, "1h"], ["lease", nothing], ["reencrypt", nothing],
                     ["access", nothing], ["ls", nothing], ["check", nothing], ["cat", nothing], ["stat", nothing]):
            golden(w.kluis(*args, code=2), err=f"""
kluis: {shown}; hint: only `:` means everything
""")
    assert w.stored() == before


@test_on_each_store
def cp_up_and_down(w):
    w.new_vault()
    w.write("a.txt", "hello")
    golden(w.kluis("cp", "a.txt", ":"), err="kluis: copied 1 file (5 B)")
    golden(w.kluis("cp", "a.txt", ":b.txt", "-q"))
    golden(w.kluis("cp", "a.txt", ":f/", "-v"), err="""
kluis: a.txt: copied to :f/a.txt (5 B)
kluis: copied 1 file (5 B)
""")
    golden(w.kluis("cp", "a.txt", ":f/a.txt"), err="kluis: copied 0 files (0 B), 1 skipped")
    golden(w.kluis("ls", "-r"), out="a.txt\nb.txt\nf/a.txt")
    golden(w.kluis("cp", ":f/a.txt", "down.txt"), err="kluis: copied 1 file (5 B)")
    assert w.read("down.txt") == b"hello"
    assert w.path("down.txt").stat().st_mtime_ns == w.path("a.txt").stat().st_mtime_ns
    golden(w.kluis("cp", "nothing", ":", code=16), err="""
kluis: nothing: cannot read it: no such file or directory; hint: check the spelling
""")
    golden(w.kluis("cp", ":nothing", ".", code=16), err="""
kluis: :nothing: there is nothing at this path; hint: see what is there with `kluis ls :`
""")
    golden(w.kluis("cp", ":f", ".", code=2), err="""
kluis: :f: it is a folder; hint: give -r to copy folders
""")


@test
def what_a_copy_means(w):
    w.new_vault()
    w.write("d/x", "1")
    w.write("d/s/y", "22")
    w.write("e/x", "333")
    w.kluis("cp", "-r", "d", ":t")
    w.kluis("cp", "-r", "d", ":t/")  # a trailing slash changes nothing
    w.kluis("cp", "-r", "d", "e", "d/x", ":many/")
    w.kluis("cp", "-r", "d/", ":")
    golden(w.kluis("ls", "-r"), out="many/d/s/y\nmany/d/x\nmany/e/x\nmany/x\ns/y\nt/s/y\nt/x\nx")
    w.kluis("cp", "-r", ":t", "new")
    assert sorted(w.tree("new")) == ["s/y", "x"]
    w.kluis("cp", "-r", ":t", "new")  # not new/t
    assert sorted(w.tree("new")) == ["s/y", "x"]
    w.kluis("cp", "-r", ":t", ":many", "both/")
    assert sorted(w.tree("both")) == ["many/d/s/y", "many/d/x", "many/e/x", "many/x", "t/s/y", "t/x"]
    w.kluis("cp", ":t/x", "new")  # an existing local folder: keeps its name
    w.kluis("cp", ":t/x", "made/for/it/")
    w.kluis("cp", ":t/x", "made/other/name")
    assert sorted(w.tree("made")) == ["for/it/x", "other/name"]
    # In a vault it does not: `many` is the new name, which a store of files cannot hold beside many/x.
    golden(w.kluis("cp", ":t/x", ":many", code=14), err="""
kluis: :many: a folder of this name is there, and this store cannot hold both; hint: choose another name
""")
    w.kluis("cp", "d/x", ":v/w/")
    assert w.kluis("cat", "v/w/x").out == "1"
    for wrong in (["d", ":t"], [":t/", "new"], [":", "new"], ["d/x", "e/x", ":t"], ["d/x", "e/x"], ["-r", "d", "e"],
                  [":t/x", ":t/x"], ["-r", ":t", ":t"], ["-r", ":t", ":t/u"], ["-r", ":", ":backup"],
                  ["-", "-"], ["-", ":t/"], ["-r", "-", ":x"], ["d/x", "-"], [":t/x", "new", "d/x"],
                  ["d/x", ":a//b"], ["d/x", ":../b"], ["d/x", ":a/./b"], ["d/x", "unknown:b"]):
        result = w.kluis("cp", *wrong, code=2)
        assert "; hint: " in result.err.splitlines()[-1], result.err
    assert not w.path("new/t").exists()


@test_on_each_store
def existing_targets(w):
    w.new_vault()
    w.write("a", "one")
    w.kluis("cp", "a", ":a")
    w.write("a", "two", mtime_ns=1_600_000_001_000_000_000)
    golden(w.kluis("cp", "a", ":a", code=14), err="""
kluis: :a: it exists already and differs; hint: give --overwrite to replace it
""")
    assert w.kluis("cat", "a").out == "one"
    golden(w.kluis("cp", "a", ":a", "--overwrite", "-v"), err="""
kluis: a: replaced to :a (3 B)
kluis: copied 1 file (3 B)
""")
    assert w.kluis("cat", "a").out == "two"
    # Same content under another time: different by time, identical by content.
    w.write("a", "two", mtime_ns=1_500_000_000_000_000_000)
    w.kluis("cp", "a", ":a", code=14)
    golden(w.kluis("cp", "a", ":a", "--checksum"), err="kluis: copied 0 files (0 B), 1 skipped")
    # Same size and time, other content: identical by time, different by content.
    w.write("a", "TWO", mtime_ns=1_600_000_001_000_000_000)
    w.kluis("cp", "a", ":a")
    w.kluis("cp", "a", ":a", "--checksum", code=14)
    # Downwards.
    w.kluis("cp", ":a", "a")
    w.kluis("cp", ":a", "a", "--checksum", code=14)
    assert w.read("a") == b"TWO"
    w.write("a", "TWO", mtime_ns=1)
    w.kluis("cp", ":a", "a", code=14)
    w.kluis("cp", ":a", "a", "--overwrite")
    assert w.read("a") == b"two"
    w.path("folder/a").mkdir(parents=True)
    w.kluis("cp", ":a", "folder", "--overwrite", code=14)
    # In a recursive copy each is named and counted.
    w.write("d/a", "x")
    w.write("d/b", "y")
    w.kluis("cp", "-r", "d", ":", code=3)
    assert sorted(w.kluis("ls", "-r").lines()) == ["a", "b"]
    result = w.kluis("cp", "-r", "d", ":", code=3)
    golden(result, err="""
kluis: :a: it exists already and differs; hint: give --overwrite to replace it
kluis: copied 0 files (0 B), 1 skipped, 1 failed
kluis: 1 of 2 failed, 0 copied; hint: the failures are named above; run the same command again for what is left
""")
    w.kluis("cp", "-r", "d", ":", "--overwrite")
    assert w.kluis("cat", "a").out == "x"


@test_on_each_store
def ls_golden(w):
    w.new_vault()
    golden(w.kluis("ls"))
    golden(w.kluis("ls", "-r"))
    for name, size in (("z", 3), ("b/2", 0), ("b/1", 1234567), ("b/c/d", 5), ("B", 1), ("é", 2)):
        w.write(f"d/{name}", b"x" * size)
    w.kluis("cp", "-r", "d", ":")
    golden(w.kluis("ls"), out="B\nb/\nz\né")
    golden(w.kluis("ls", ":b"), out="1\n2\nc/")
    golden(w.kluis("ls", "b/"), out="1\n2\nc/")
    golden(w.kluis("ls", "-r", "b"), out="1\n2\nc/d")
    golden(w.kluis("ls", "b/c/d"), out="d")
    golden(w.kluis("ls", "-r", "b/c/d"), out="d")
    golden(w.kluis("ls", "-l", "b"), out="""
       1234567 TIME 1
             0 TIME 2
             -                    - c/
""".strip("\n"))
    golden(w.kluis("ls", "nothing/here", code=16), err="""
kluis: :nothing/here: there is nothing at this path; hint: see what is there with `kluis ls :nothing`
""")
    w.kluis("ls", "z/", code=16)
    golden(w.kluis("ls", "--json", "b"), out="""
{"message_type":"object","path":"b/1","size":1234567,"last_modified":"TIME"}
{"message_type":"object","path":"b/2","size":0,"last_modified":"TIME"}
{"message_type":"folder","path":"b/c"}
{"message_type":"summary","command":"ls","items":2,"bytes":1234567,"folders":1,"skipped":0,"failed":0,"nameless":0,"foreign":0,"dry_run":false,"seconds":S}
""")
    golden(w.kluis("ls", "--json", "nothing", code=16), out="""
{"message_type":"error","code":"not_found","exit_code":16,"path":":nothing","message":"there is nothing at this path","hint":"see what is there with `kluis ls :`"}
""", err="""
kluis: :nothing: there is nothing at this path; hint: see what is there with `kluis ls :`
""")


@test_on_each_store
def cat_and_its_ranges(w):
    w.new_vault()
    content = random.Random(2).randbytes(3_000_000)
    w.write("big", content)
    w.write("small", "0123456789")
    w.write("empty")
    w.kluis("cp", "big", "small", "empty", ":")
    assert w.kluis("cat", "big").out_bytes == content
    assert w.kluis("cp", ":big", "-").out_bytes == content
    assert w.kluis("cat", "empty").out_bytes == b""
    for text, expected in {"0..4": "0123", "3..3": "", "8..": "89", "..2": "01", "-3": "789", "-0": "", "-99": "0123456789",
                           "5..99": "56789", "10..": "", "10..12": "", "0..": "0123456789"}.items():
        assert w.kluis("cat", "small", "--range", text).out == expected, text
    for start, end in ((0, 1), (16_383, 16_385), (1_000_000, 2_000_001), (2_999_999, 3_000_000)):
        assert w.kluis("cat", ":big", f"--range={start}..{end}").out_bytes == content[start:end]
    assert w.kluis("cat", "empty", "--range", "0..5").out == ""
    for wrong in ("11..", "11..12", "4..3", "x", "..", "1", "-", "0x1..2"):
        w.kluis("cat", "small", "--range", wrong, code=2)
    golden(w.kluis("cat", "nothing", code=16), err="""
kluis: :nothing: there is nothing at this path; hint: see what is there with `kluis ls :`
""")
    w.kluis("cat", "big/", code=2)
    done = w.kluis("cat", "nothing", "--json", code=16)
    assert done.out == "" and '"code":"not_found"' in done.err.splitlines()[0]


@test_on_each_store
def stdin_is_a_source(w):
    w.new_vault()
    golden(w.kluis("cp", "-", ":log", stdin=b"from a pipe"), err="kluis: copied 1 file (11 B)")
    assert w.kluis("cat", "log").out == "from a pipe"
    big = random.Random(3).randbytes(20_000_000)
    w.kluis("cp", "-", ":big", stdin=big)
    assert w.kluis("cat", "big").out_bytes == big
    w.kluis("cp", "-", ":log", stdin=b"x", code=14)
    w.kluis("cp", "-", ":log", "--overwrite", stdin=b"y")
    assert w.kluis("cat", "log").out == "y"
    w.kluis("cp", "-", ":log", "--password-fd", "0", "--overwrite", stdin=b"y", code=2)


@test_on_each_store
def stat_shows_what_is_sealed(w):
    w.new_vault()
    w.write("a", "hello", mtime_ns=-1_000_000_001)
    w.kluis("cp", "a", ":f/a")
    done = w.kluis("stat", "f/a")
    assert [line.split("  ")[0] for line in done.lines()] == [
        "path", "size", "mtime", "expires", "version", "epoch", "stored size", "last modified"], done.out
    assert re.search(r"^mtime +1969-12-31T23:59:58.999999999Z$", done.out, re.M), done.out
    (one,) = w.kluis("stat", ":f/a", "--json").json()
    assert one.keys() == {"message_type", "path", "size", "last_modified", "mtime", "version", "epoch", "closed",
                          "stored_size", "attributes"}, one
    assert one["path"] == "f/a" and one["size"] == 5 and one["mtime"] == "1969-12-31T23:59:58.999999999Z"
    assert one["stored_size"] > 5 and one["closed"] is False and one["attributes"] == {}
    w.kluis("stat", "f", code=16)
    w.kluis("stat", "f/", code=2)


@test_on_each_store
def mv_moves(w):
    w.new_vault()
    for name in ("a", "d/x", "d/s/y"):
        w.write(f"t/{name}", name)
    w.kluis("cp", "-r", "t", ":")
    golden(w.kluis("mv", "a", "b"), err="kluis: moved 1 file (1 B)")
    golden(w.kluis("mv", "b", "in/"), err="kluis: moved 1 file (1 B)")
    golden(w.kluis("mv", ":d", "e/"), err="kluis: moved 2 files (8 B)")  # as cp -r: e/x, not e/d/x
    golden(w.kluis("ls", "-r"), out="e/s/y\ne/x\nin/b")
    w.kluis("mv", "e", "in/b", "all/")
    golden(w.kluis("ls", "-r"), out="all/b\nall/e/s/y\nall/e/x")
    (stat,) = w.kluis("stat", "all/b", "--json").json()
    assert stat["mtime"] == "2020-09-13T12:26:40.123456789Z", stat
    w.kluis("mv", "all/b", "all/e/x", code=14)
    assert w.kluis("cat", "all/e/x").out == "d/x" and w.kluis("cat", "all/b").out == "a"
    w.kluis("mv", "all/b", "all/e/x", "--overwrite")
    assert w.kluis("cat", "all/e/x").out == "a"
    golden(w.kluis("mv", "nothing", "x", code=16), err="""
kluis: :nothing: there is nothing at this path; hint: see what is there with `kluis ls :`
""")
    for wrong in (["all/e/x", "all/e/x"], ["all", "all/e"], [":", "x"], ["all"], ["all", "x", "y"]):
        w.kluis("mv", *wrong, code=2)
    assert "would have been moved 2 files" in w.kluis("mv", "-n", "all", "x").err
    golden(w.kluis("ls", "-r"), out="all/e/s/y\nall/e/x")
    # A move that died between its two steps is finished by the next one.
    w.kluis("cp", ":all/e/x", ":copy")
    w.kluis("mv", "all/e/x", "copy")
    golden(w.kluis("ls", "-r"), out="all/e/s/y\ncopy")


@test_on_each_store
def rm_removes(w):
    w.new_vault()
    for name in ("a", "b", "d/x", "d/s/y", "e/z"):
        w.write(f"t/{name}", name)
    w.kluis("cp", "-r", "t", ":")
    golden(w.kluis("rm", "a"), err="kluis: removed 1 object")
    golden(w.kluis("rm", "a", code=16), err="""
kluis: :a: there is nothing at this path; hint: see what is there with `kluis ls :`
""")
    golden(w.kluis("rm", ":d", code=2), err="kluis: :d: it is a folder; hint: give -r to remove folders")
    golden(w.kluis("rm", "d/", code=2), err="kluis: :d/: it is a folder; hint: give -r to remove folders")
    w.kluis("rm", "-r", "-n", "d")
    golden(w.kluis("ls", "-r"), out="b\nd/s/y\nd/x\ne/z")
    golden(w.kluis("rm", "-r", "d"), err="kluis: removed 2 objects")
    w.kluis("rm", "-r", "d", code=16)
    golden(w.kluis("rm", "b", "nothing", code=3), err="""
kluis: :nothing: there is nothing at this path; hint: see what is there with `kluis ls :`
kluis: removed 1 object, 1 failed
kluis: 1 of 2 failed, 1 removed; hint: the failures are named above; run the same command again for what is left
""")
    w.kluis("rm", code=2)
    assert "--yes" in w.kluis("rm", "-r", ":", code=2).err
    w.kluis("rm", ":", code=2)
    golden(w.kluis("rm", "-r", ":", "--yes", "-v"), err="kluis: :e/z: removed\nkluis: removed 1 object")
    golden(w.kluis("ls", "-r"))
    golden(w.kluis("rm", "-r", ":", "--yes"), err="kluis: removed 0 objects")
    assert w.count_stored() == 0


@test_on_each_store
def check_finds_what_was_altered(w):
    w.new_vault()
    for name in ("a", "d/x", "long" * 50):
        w.write(f"t/{name}", name * 1000)
    w.kluis("cp", "-r", "t", ":")
    done = w.kluis("check")
    assert re.fullmatch(r"kluis: checked \d+ records \(.*\), all good\n", done.err), done.err
    assert w.kluis("check", "--quick").err.startswith("kluis: checked headers and lengths of ")
    w.kluis("check", "d")
    w.kluis("check", "nothing", code=16)
    summary = w.kluis("check", "--json").json()[-1]
    assert summary["message_type"] == "summary" and summary["command"] == "check" and summary["failed"] == 0, summary
    assert summary.keys() >= {"items", "bytes", "failed", "foreign", "seconds"}
    if w.store != "folder":
        return
    objects = sorted(p for p in (Path(w.url) / "o").rglob("*") if p.is_file())
    damaged = max(objects, key=lambda p: p.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    done = w.kluis("check", code=13)
    assert len(done.err.splitlines()) == 3, done.err
    errors = [m for m in w.kluis("check", "--json", code=13).json() if m["message_type"] == "error"]
    assert errors[0].keys() == {"message_type", "code", "exit_code", "path", "message", "hint"}
    assert [e["exit_code"] for e in errors] == [13, 13] and errors[0]["code"] == "tampered", errors
    # It can be replaced or removed, and is never taken for good.
    name = errors[0]["path"]
    w.kluis("cat", name, code=13)
    w.kluis("cp", name, "out", code=13)
    assert not w.path("out").exists()
    w.kluis("cp", "-r", ":", "out", code=13)
    assert len(w.tree("out")) == 2, w.tree("out")
    w.kluis("rm", name)
    w.kluis("check")


@test
def what_has_lost_its_name_is_not_passed_over(w):
    """The provider removes the record of a long name and puts a file of its own beside: who works on the whole
    folder is told, and the exit code says that not everything was reached."""
    w.new_vault()
    names = [letter * 200 for letter in "ab"]
    for name in (*names, "short"):
        w.write(f"t/{name}", name[0])
    w.kluis("cp", "-r", "t", ":d")
    objects = Path(w.url) / "o"
    records = sorted(objects.rglob("~*~"))
    assert len(records) == 2, records
    (records[0].parent / "Thumbs.db").write_bytes(b"windows was here")
    foreign = "kluis: :d: 1 entry is not of this vault and was left out; `kluis check -v` names them"
    golden(w.kluis("ls", "-r", ":d"), out="\n".join((*names, "short")), err=foreign)
    golden(w.kluis("cp", "-r", ":d", "all"), err=f"""
{foreign}
kluis: copied 3 files (3 B)
""")
    assert "Thumbs.db: not of this vault" in w.kluis("check", "-v").err

    lost = "1 object was left out: the store has lost its long name"
    hint = "hint: `kluis check` says where they lie; by its name each can be read, moved and removed as ever"
    records[0].unlink()
    for recursive in ([], ["-r"]):
        done = w.kluis("ls", *recursive, ":d", code=3)
        assert len(done.lines()) == 2 and "short" in done.lines(), done.out
        golden(done, out=done.out, err=f"{foreign}\nkluis: :d: {lost}; {hint}")
    summary, error = w.kluis("ls", "--json", ":d", code=3).json()[-2:]
    assert (summary["nameless"], summary["foreign"], summary["failed"]) == (1, 1, 1), summary
    assert (error["exit_code"], error["code"], error["path"]) == (3, "some_failed", ":d"), error
    golden(w.kluis("cp", "-r", ":d", "some", code=3), err=f"""
{foreign}
kluis: :d: {lost}; {hint}
kluis: copied 2 files (2 B), 1 failed
kluis: 1 of 3 failed, 2 copied; hint: the failures are named above; run the same command again for what is left
""")
    assert w.kluis("cp", "-r", ":d", "some", "--json", code=3).json()[-2]["nameless"] == 1
    w.kluis("rm", "-r", "-n", ":d", code=3)
    w.kluis("mv", ":d", ":e", code=3)
    assert len(w.kluis("ls", ":e").lines()) == 2
    # Nothing else is left in the folder; it is not taken for one that is gone.
    w.kluis("check", code=13)
    for command in (["ls", ":d"], ["rm", "-r", ":d"], ["rm", "-r", ":", "--yes"], ["mv", ":d", ":e"],
                    ["cp", "-r", ":d", "rest"]):
        assert lost in w.kluis(*command, code=3).err, command
    golden(w.kluis("rm", ":d", code=2), err="kluis: :d: it is a folder; hint: give -r to remove folders")
    (left,) = [name for name in names if not w.path(f"some/{name}").exists()]
    assert w.kluis("cat", f":d/{left}").out == left[0]
    w.kluis("mv", f":d/{left}", f":d/{left[1:]}")
    golden(w.kluis("cp", "-r", ":d", "rest"), err=f"{foreign}\nkluis: copied 1 file (1 B)")
    golden(w.kluis("rm", "-r", ":d"), err=f"{foreign}\nkluis: removed 1 object")


@test
def a_folder_may_hold_what_no_store_has(w):
    """Names that are no paths of a store, pipes, devices and links in circles: passed over and counted where they
    stand by themselves, damage in the place of something of the vault, and never waited for."""
    w.new_vault()
    w.write("t/a", "1")
    w.write("t/b", "2")
    w.write("t/" + "n" * 200, "3")
    w.kluis("cp", "-r", "t", ":")
    root, odd = Path(w.url), 0
    for folder in ("", "o", "k/l", "k/h"):
        for name in (b"Icon\r", b"\xff\xfe", b"\x1b[2J"):
            (root / folder / os.fsdecode(name)).write_bytes(b"x")
        os.mkfifo(root / folder / "pipe")
        os.symlink("circle", root / folder / "circle")
        os.symlink("/nowhere", root / folder / "nowhere")
        os.symlink("/dev/zero", root / folder / "zero")
        odd += 7
    os.mkdir(root / "o" / "dir\r")
    (root / "o" / "dir\r" / "x").write_bytes(b"x")
    foreign = "entries are not of this vault and were left out; `kluis check -v` names them"
    golden(w.kluis("ls"), out="a\nb\n" + "n" * 200, err=f"kluis: :: 8 {foreign}")
    golden(w.kluis("cp", "-r", ":", "all"), err=f"kluis: :: 8 {foreign}\nkluis: copied 3 files (3 B)")
    done = w.kluis("check", "-v")
    assert f"{odd + 1} not of this vault" in done.err and "\x1b" not in done.err, done.err
    w.kluis("passwd", "--new-password-file", w.path("password"))
    w.write("t/c", "4")
    w.kluis("cp", "t/c", ":c")
    w.kluis("rm", "c")

    # In the place of the vault's own.
    def pipe_at(path):
        path.unlink()
        os.mkfifo(path)
    pipe_at(root / "kluis.vault")
    pipe_at(root / "k" / "header")
    w.kluis("ls")
    assert (root / "kluis.vault").is_file()
    pipe_at(max((root / "k" / "l").glob("0" * 15 + "?")))
    w.kluis("ls")
    objects = [p for p in (root / "o").iterdir() if p.is_file() and len(p.name) == 52]
    pipe_at(objects[0])
    w.kluis("check", code=13)
    w.kluis("cp", "-r", ":", "some", code=13)
    assert len(w.tree("some")) == 2
    pipe_at(next((root / "o").glob("~*~")))
    w.kluis("cp", "-r", ":", "some", code=13)
    assert "lost its long name" in w.kluis("ls", code=3).err


@test_on_each_store
def passwords_and_keys(w):
    w.new_vault()
    w.write("a", "hello")
    w.kluis("cp", "a", ":")
    (slot,) = w.kluis("key", "list").lines()
    assert re.fullmatch(r"[0-9a-f]{32} \S+Z password, 64 MiB, 3 passes \(in use\)", slot), slot
    (json_slot,) = w.kluis("key", "list", "--json").json()
    assert json_slot.keys() == {"message_type", "id", "kind", "created", "kdf_memory_kib", "kdf_passes", "current"}

    # A wrong password is never an empty listing.
    wrong = w.write("wrong", "not this one\n")
    for verb in (["ls"], ["cat", "a"], ["cp", ":a", "b"], ["check"], ["rm", "a"], ["passwd", "--new-password-file", wrong]):
        done = w.kluis(*verb, "--password-file", wrong, code=12)
        assert done.out == "" and "wrong password" in done.err, done.err

    # passwd
    new = w.write("new", "another fine password\r\n")
    golden(w.kluis("passwd", "--new-password-file", new, "-q"))
    w.kluis("ls", code=12)
    w.env["KLUIS_PASSWORD_FILE"] = str(new)
    golden(w.kluis("ls"), out="a")

    # A recovery phrase opens by itself.
    done = w.kluis("key", "add", "--new-recovery-phrase")
    words = done.out.strip()
    assert len(words.split(" ")) == 24 and words not in done.err
    phrase = w.write("phrase", done.out.upper())
    golden(w.kluis("ls", "--recovery-phrase-file", phrase, env={"KLUIS_PASSWORD_FILE": None}), out="a")
    bad = w.write("bad", " ".join(words.split()[:23]))
    w.kluis("ls", "--recovery-phrase-file", bad, code=2)
    w.kluis("ls", "--recovery-phrase-file", phrase, "--keyfile", phrase, code=2)
    # And sets a new password for who forgot theirs.
    w.kluis("passwd", "--recovery-phrase-file", phrase, "--new-password-file", w.write("third", "third password"))
    assert len(w.kluis("key", "list", "--password-file", w.path("third")).lines()) == 3

    # A keyfile removes what is weaker.
    keyfile = w.path("keyfile")
    done = w.kluis("key", "add", "--new-keyfile", keyfile, "--new-password-file", new)
    assert "2 key slots without a keyfile removed" in done.err, done.err
    assert keyfile.stat().st_mode & 0o777 == 0o600 and keyfile.stat().st_size == 32
    w.kluis("ls", code=12)
    golden(w.kluis("ls", "--keyfile", keyfile), out="a")
    w.kluis("ls", "--keyfile", w.write("short", "short"), code=2)
    w.kluis("ls", "--keyfile", w.write("other", bytes(32)), code=12)
    slots = w.kluis("key", "list", "--keyfile", keyfile).lines()
    assert sorted(s.split()[2].strip(",") for s in slots) == ["keyfile", "recovery-phrase"], slots

    # remove
    ids = {s.split()[2].strip(","): s.split()[0] for s in slots}
    w.kluis("key", "remove", "ffffffffffff", "--keyfile", keyfile, code=16)
    w.kluis("key", "remove", "", "--keyfile", keyfile, code=2)
    w.kluis("key", "remove", ids["keyfile"], "--keyfile", keyfile, code=2)  # in use: asks
    w.kluis("key", "remove", ids["recovery-phrase"][:8], "--keyfile", keyfile)
    w.kluis("key", "remove", ids["keyfile"], "--yes", "--keyfile", keyfile, code=2)  # the last
    w.kluis("ls", "--recovery-phrase-file", phrase, code=12)

    # rotate
    w.kluis("key", "add", "--new-recovery-phrase", "--keyfile", keyfile)
    w.kluis("key", "rotate", "--keyfile", keyfile, code=2)  # other slots end: asks
    done = w.kluis("key", "rotate", "--yes", "--new-recovery-phrase", "--keyfile", keyfile)
    w.write("phrase", done.out)
    golden(w.kluis("ls", "--recovery-phrase-file", phrase), out="a")
    assert w.kluis("cat", "a", "--keyfile", keyfile).out == "hello"
    w.kluis("cp", "a", ":b", "--keyfile", keyfile)
    w.kluis("check", "--keyfile", keyfile)


@test
def keyfiles_of_a_new_vault(w):
    w.kluis("init", "./v", "--keyfile", "k")
    first = w.read("k")
    assert len(first) == 32 and w.path("k").stat().st_mode & 0o777 == 0o600
    w.kluis("init", "./u", "--keyfile", "k")
    assert w.read("k") == first
    w.write("no", "not a keyfile")
    w.kluis("init", "./t", "--keyfile", "no", code=2)
    assert w.read("no") == b"not a keyfile"
    w.env["KLUIS_VAULT"] = "./v"
    w.kluis("ls", code=12)
    w.kluis("ls", "--keyfile", "k")
    w.kluis("passwd", "--keyfile", "k", "--new-password-file", w.write("new", "another one"), "--new-keyfile", "k2")
    w.kluis("ls", "--keyfile", "k2", "--password-file", "new")
    w.kluis("passwd", "--keyfile", "k2", "--password-file", "new", "--new-password-file", "password")
    w.kluis("ls", "--keyfile", "k2")


@test_on_each_store
def recovery_kit(w):
    w.new_vault()
    w.write("a", "hello")
    w.kluis("cp", "a", ":")
    done = w.kluis("recovery", "export")
    kit = w.write("kit", done.out)
    w.kluis("recovery", "export", "file", "-q")
    assert w.path("file").stat().st_mode & 0o777 == 0o600
    w.kluis("recovery", "export", "file", code=14)
    assert PASSWORD not in done.out
    (message,) = w.kluis("recovery", "export", "--json").json()
    assert message.keys() == {"message_type", "kit"} and message["message_type"] == "recovery_kit"
    if w.store == "folder":
        for lost in [Path(w.url) / "kluis.vault", *(Path(w.url) / "k").rglob("*")]:
            if lost.is_file():
                lost.unlink()
        for copy in Path(w.url).glob("kluis*"):
            copy.unlink()
        w.kluis("ls", code=10)
    w.kluis("recovery", "restore", kit, "--password-file", w.write("wrong", "wrong"), code=12)
    w.kluis("recovery", "restore", w.write("torn", done.out[:100]), code=2)
    golden(w.kluis("recovery", "restore", kit, "-q"), out=w.normal(w.address))
    golden(w.kluis("ls"), out="a")
    golden(w.kluis("recovery", "restore", "-", "-q", stdin=kit.read_bytes()), out=w.normal(w.address))
    w.kluis("check")


# ------------------------------------------------- secrets and configuration


@test
def where_passwords_come_from(w):
    w.new_vault()
    none = {"KLUIS_PASSWORD_FILE": None}
    wrong = w.write("wrong", "wrong")
    good = w.path("password")
    w.kluis("ls", env={"KLUIS_PASSWORD": PASSWORD, **none})
    w.kluis("ls", env={"KLUIS_PASSWORD_COMMAND": f"cat {good}", **none})
    w.kluis("ls", "--password-command", f"cat {good}", env=none)
    w.kluis("ls", "--password-fd", "0", env=none, stdin=good.open())
    with good.open() as file:
        w.kluis("ls", "--password-fd", str(file.fileno()), env=none, pass_fds=[file.fileno()])
    # A flag wins over the environment; the environment in its order.
    w.kluis("ls", "--password-file", good, env={"KLUIS_PASSWORD": "wrong", "KLUIS_PASSWORD_FILE": str(wrong)})
    w.kluis("ls", env={"KLUIS_PASSWORD_FILE": str(good), "KLUIS_PASSWORD": "wrong"})
    w.kluis("ls", "--password-file", wrong, code=12)
    golden(w.kluis("ls", env=none, code=2), err="""
kluis: a password is needed and there is no terminal to ask on; hint: set KLUIS_PASSWORD_FILE or KLUIS_PASSWORD_COMMAND, or give --password-file
""")
    w.kluis("ls", env={"KLUIS_PASSWORD": "", **none}, code=2)
    w.kluis("ls", "--password-file", "x", "--password-command", "y", code=2)
    w.kluis("ls", "--password-fd", "3", "--password-command", "y", code=2)
    w.kluis("ls", "--password-file", "x", "--recovery-phrase", code=2)
    w.kluis("passwd", "--new-password-file", "x", "--new-password-fd", "0", code=2)
    w.kluis("ls", "--password-file", w.write("two", "two\nlines\n"), code=2)
    w.kluis("ls", "--password-file", w.write("latin", b"\xe9\n"), code=2)
    w.kluis("ls", "--password-file", "/nothing", code=16)
    done = w.kluis("ls", "--password-command", "echo hunter2; exit 3", code=1)
    assert "hunter2" not in done.err + done.out
    # One newline, not two, is not part of it; the same characters are the same password.
    w.kluis("init", "./v2", "--password-file", w.write("p1", "pa\u0308ss wo\u00a0rd"))
    w.kluis("ls", "--vault", "./v2", "--password-file", w.write("p2", "p\u00e4ss wo rd\n"))
    w.kluis("ls", "--vault", "./v2", "--password-file", w.write("p3", "p\u00e4ss wo rd\n\n"), code=2)


@test
def configuration(w):
    w.kluis("init", "./v1")
    w.kluis("init", "./v2", "--password-file", w.write("p2", "second password"))
    none = {"KLUIS_PASSWORD_FILE": None}
    config = w.home / ".config/kluis/config.toml"
    config.parent.mkdir(parents=True)
    config.write_text(f'''
default = "one"
[vault.one]
url = "{w.dir}/v1"
password_file = "{w.dir}/password"
[vault.two]
url = "file://{w.dir}/v2"
password_command = "cat {w.dir}/p2"
''')
    w.write("d/a", "1")
    w.write("d/b", "2")
    w.kluis("cp", "-r", "d", "two:x", env=none)
    w.kluis("cp", "-r", "two:x", ":y", env=none)
    golden(w.kluis("ls", "-r", env=none), out="y/a\ny/b")
    golden(w.kluis("ls", "one:y", env=none), out="a\nb")
    golden(w.kluis("ls", "--vault", "two", env=none), out="x/")
    golden(w.kluis("ls", ":x", env={"KLUIS_VAULT": "two", **none}), out="a\nb")
    golden(w.kluis("cp", "-r", "two:x", "one:y", env=none), err="kluis: copied 0 files (0 B), 2 skipped")
    w.kluis("mv", "one:y/a", "two:moved", env=none)
    golden(w.kluis("ls", "-r", "two:", env=none), out="moved\nx/a\nx/b")
    golden(w.kluis("ls", "-r", "one:", env=none), out="y/b")
    w.kluis("rm", "one:y/b", "two:moved", env=none)
    # The environment wins over the configuration, for every vault.
    w.kluis("ls", "two:", code=12)
    golden(w.kluis("ls", "three:", code=2), err="""
kluis: no vault is called three; hint: add [vault.three] with its url to ~/.config/kluis/config.toml; for a folder write ./three
""")
    w.kluis("ls", "--vault", "three", code=2)
    config.write_text('[vault.one]\nurl = "/x"\npassword = "secret"\n')
    assert "secret" not in w.kluis("ls", code=2).err
    golden(w.kluis("ls", env={"XDG_CONFIG_HOME": "/nothing"}, code=2), err="""
kluis: no vault was named; hint: give --vault URL, or set KLUIS_VAULT, or `default` in ~/.config/kluis/config.toml
""")


@test
def a_vault_that_was_removed_can_be_made_again(w):
    w.new_vault()
    # What is there is said before any question, with or without --forget.
    for more in ([], ["--forget"]):
        golden(w.kluis("init", w.url, *more, env={"KLUIS_PASSWORD_FILE": None}, code=14), err="""
kluis: $DIR/vault1: a vault exists already here; hint: open it with its password, or choose another place for a new one
""")
    os.rename(w.url, f"{w.url}.gone")
    golden(w.kluis("init", w.url, code=14), err="""
kluis: $DIR/vault1: this device has seen the vault ID here, and nothing of it is left; hint: if it was you who removed it, give --forget; if not, ask the provider where it is
""")
    assert not Path(w.url).exists()
    w.kluis("init", w.url, "--forget")
    golden(w.kluis("ls"))
    w.write("file", "x")
    w.kluis("init", "./file", code=14)


@test
def files_of_the_user_have_bounds(w):
    w.new_vault()
    config = w.home / ".config/kluis/config.toml"
    config.parent.mkdir(parents=True)
    for content in (b"#" * (1 << 20) + b"\n", b"# \xff\n"):
        config.write_bytes(content)
        assert "it is not UTF-8, or over 1 MiB; hint: " in w.kluis("ls", "some:", code=2).err
    config.unlink()
    config.symlink_to("/dev/zero")
    w.kluis("ls", "some:", code=2)
    config.unlink()
    for kit in ("/dev/zero", w.write("kit", b"\xff" * 100)):
        assert "it is no recovery kit; hint: " in w.kluis("recovery", "restore", kit, code=2).err
    # A kit that is longer than a header alone.
    w.kluis("recovery", "export", "good")
    w.write("long", b"x" * 2_000_000 + b"\n" + w.read("good"))
    w.kluis("recovery", "restore", "long")


@test
def a_device_state_that_cannot_be_kept_is_named(w):
    w.new_vault()
    w.write("state", "x")
    done = w.kluis("ls", env={"XDG_STATE_HOME": f"{w.dir}/state"}, code=1)
    assert f"device state in {w.dir}/state/kluis: " in done.err, done.err


@test
def a_file_that_says_that_it_is_empty_is_not_cut(w):
    w.new_vault()
    w.kluis("cp", "/proc/version", ":version")
    assert w.kluis("cat", "version").out == Path("/proc/version").read_text()
    long = Path("/proc/kallsyms")
    if not long.exists() or len(long.read_bytes()) <= 1 << 20:
        return
    assert "would be cut" in w.kluis("cp", long, ":long", code=1).err
    w.kluis("cat", "long", code=16)


@test
def no_vault_there(w):
    w.kluis("ls", "--vault", "./nothing", code=10)
    assert not w.path("nothing").exists()
    w.path("empty").mkdir()
    w.kluis("ls", "--vault", "./empty", code=10)
    w.kluis("ls", "--vault", "ftp://x/y", code=2)
    w.kluis("ls", "--vault", "s3://key:secret@bucket/x", code=2)
    assert "secret" not in w.kluis("ls", "--vault", "s3://key:secret@bucket/x", code=2).err
    w.write("file", "x")
    w.kluis("ls", "--vault", "./file", code=10)
    done = w.kluis("ls", "--vault", "s3://bucket/x", code=17, env={
        "AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "verysecret", "AWS_REGION": "us-east-1", "NO_PROXY": "127.0.0.1"})
    assert "verysecret" not in done.err


@test
def a_wrong_address_is_told_before_any_question(w):
    w.new_vault()
    url, id = w.address.split("#")
    w.path("empty").mkdir()
    s3 = {"AWS_ENDPOINT": "http://127.0.0.1:9", "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "a",
          "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "NO_PROXY": "127.0.0.1", "KLUIS_PASSWORD_FILE": None}
    config = w.home / ".config/kluis/config.toml"
    config.parent.mkdir(parents=True)
    for address, code in ((f"{url}#{'0' * 32}", 15), (f"{w.dir}/empty", 10), (f"{w.dir}/nothing", 10),
                          ("s3://bucket/x", 17), (url, 0)):
        config.write_text(f"""
[vault.there]
url = "{address}"
password_command = "touch {w.dir}/ran; cat {w.dir}/password"
""")
        w.kluis("ls", "there:", env=s3, code=code)
        assert w.path("ran").exists() == (code == 0), address
    # The device has seen this vault here: another one in its place is not asked for either.
    w.kluis("init", "./other")
    os.rename(w.url, f"{w.url}.gone")
    os.rename(w.path("other"), w.url)
    w.path("ran").unlink()
    w.kluis("ls", "there:", env=s3, code=15)
    assert not w.path("ran").exists()
    t = Terminal(w, "ls", env={"KLUIS_PASSWORD_FILE": None})
    assert "Password" not in t.end(15)
    # Mistakes in the arguments are a line like every other, and as plain on a terminal.
    t = Terminal(w, "ls", "--nope")
    assert re.fullmatch(r"kluis: unexpected argument .*; hint: .*\s+", seen := t.end(2)), seen


# --------------------------------------------------------------- the terminal


@test
def questions_on_the_terminal(w):
    none = {"KLUIS_PASSWORD_FILE": None}
    t = Terminal(w, "init", "./v", env=none)
    t.expect("Password for the new vault ")
    t.say("hunter2\n")
    t.expect("Strength: weak; ")
    t.expect("The same again: ")
    t.say("hunter3\n")
    t.expect("They differ.")
    t.expect("Password for the new vault ")
    t.say(PASSWORD + "\n")
    t.expect("Strength: strong; ")
    t.expect("again: ")
    t.say(PASSWORD + "\n")
    seen = t.end(0)
    assert PASSWORD not in seen and "hunter2" not in seen and "file://" in seen, seen
    w.env["KLUIS_VAULT"] = "./v"
    w.kluis("ls")
    t = Terminal(w, "ls", env=none)
    t.expect("Password for ")
    t.say(PASSWORD + "\n")
    t.end(0)
    t = Terminal(w, "ls", env=none)
    t.expect("Password for ")
    t.say("wrong\n")
    t.end(12)
    w.write("a", "x")
    w.kluis("cp", "a", ":")
    t = Terminal(w, "rm", "-r", ":")
    t.expect("remove everything in ")
    t.say("n\n")
    t.end(2)
    t = Terminal(w, "rm", "-r", ":")
    t.expect("[y/N] ")
    t.say("y\n")
    t.end(0)
    golden(w.kluis("ls"))


@test
def an_interrupt_leaves_the_terminal_usable(w):
    w.new_vault()
    script = f'stty -a >before; {KLUIS} ls; echo "code $?"; stty -a >after'
    environment = {**w.env, "TERM": "xterm"}
    environment.pop("KLUIS_PASSWORD_FILE")
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(w.dir)
        # The shell itself has to survive the interrupt.
        os.execve("/bin/bash", ["bash", "-c", f"trap : INT; {script}"], environment)
    t = Terminal.__new__(Terminal)
    t.pid, t.fd, t.seen = pid, fd, ""
    t.expect("Password for ")
    t.say("\x03")
    t.expect("code 130")
    t.end(0)
    assert w.read("before") == w.read("after")


@test
def names_cannot_drive_the_terminal(w):
    w.new_vault()
    name = "evil\u202egnp.exe"
    w.write(f"d/{name}", "x")
    done = w.kluis("cp", "-r", "d", ":", "-v")
    assert "\u202e" not in done.err and "\\u{202e}" in done.err, done.err
    assert w.kluis("ls").out == name + "\n"  # a pipe gets it as it is
    t = Terminal(w, "ls")
    seen = t.end(0)
    assert "\u202e" not in seen and "\\u{202e}" in seen, seen
    assert w.kluis("ls", "--json").json()[0]["path"] == name


@test
def a_bar_on_a_terminal_and_none_with_q(w):
    w.new_vault()
    with w.path("big").open("wb") as f:
        f.truncate(300_000_000)
    t = Terminal(w, "cp", "big", ":")
    seen = t.end(0)
    assert "/s" in seen and "copied 1 file" in seen, seen
    assert "/s" not in w.kluis("cp", "big", ":two").err
    assert Terminal(w, "-q", "cp", "big", ":three").end(0) == ""


@test
def a_closed_pipe_is_no_error(w):
    w.new_vault()
    for i in range(30):
        w.write(f"d/{i}", b"x" * 100_000)
    w.kluis("cp", "-r", "d", ":")
    w.write("big", b"x" * 5_000_000)
    w.kluis("cp", "big", ":")
    for args in (["ls", "-r"], ["ls", "--json"], ["cat", "big"], ["cp", ":big", "-"], ["stat", "big"], ["key", "list"],
                 ["man"], ["completions", "bash"], ["check", "--json"]):
        process = w.start(*args)
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait() == 0, (args, process.returncode, err)
        assert b"panicked" not in err and b"pipe" not in err, err


# --------------------------------------------------------- trees, whole ones


def awkward_tree(w):
    rng = random.Random(4)
    names = ["empty", "a b", " lead and trail ", "été/Ω/日本語.txt", "e\u0301te\u0301", "~tilde", "100%25", "c:\\d", "-dash", "--",
             "#1", "a#2", "*?[x]", "🦀" * 40, "n" * 127, "n" * 128, "n" * 255, "é" * 100 + "/" + "ü" * 120 + "/deep", "...", "...hidden",
             ".dot/.dot", "a:b", ":", "KLUIS", "kluis", "con", "nul.txt", "\u202ertl", "q'uo\"te", "$HOME", "back\\slash", "CASE/x", "case/x"]
    for i, name in enumerate(names):
        w.write(f"tree/{name}", rng.randbytes(rng.randrange(3000)) if name != "empty" else b"", 1_700_000_000_000_000_000 + i * 1_000_000_007)
    for size in (1, 15, 16, 17, 16383, 16384, 16385, 65536, 1 << 20, (1 << 20) + 1, 5_000_001):
        w.write(f"tree/sizes/{size}", rng.randbytes(size), -rng.randrange(10**18))
    for i in range(150):
        w.write(f"tree/many/{i % 7}/{i}", CANARY + bytes(i), 1_500_000_000_000_000_000 + i)


@test_on_each_store
def a_tree_of_awkward_names_comes_back(w):
    w.new_vault()
    awkward_tree(w)
    # Being laid out as files, some S3 servers cannot hold names as long as ours become.
    w.kluis("cp", "-r", "tree", ":photos/tree")
    w.kluis("cp", "-r", ":photos/tree", "back")
    assert w.tree("back") == w.tree("tree")
    again = w.kluis("cp", "-r", "tree", ":photos/tree")
    assert f"copied 0 files (0 B), {len(w.tree('tree'))} skipped" in again.err, again.err
    again = w.kluis("cp", "-r", ":photos/tree", "back", "--checksum")
    assert f"copied 0 files (0 B), {len(w.tree('tree'))} skipped" in again.err, again.err
    listed = w.kluis("ls", "-r", "photos/tree").lines()
    assert listed == sorted(w.tree("tree"), key=lambda n: n.encode()), set(listed) ^ set(w.tree("tree"))
    w.kluis("check")
    # Inside the vault, and what the provider sees.
    w.kluis("cp", "-r", ":photos/tree", ":copy")
    w.kluis("cp", "-r", ":copy", "copy")
    assert w.tree("copy") == w.tree("tree")
    stored = b"\n".join(key.encode() + b"\n" + content for key, content in w.stored().items())
    for plain in (CANARY, b"quick brown", b"photos", b"tree", "日本語".encode(), "été".encode(), b"hidden", b"sizes", PASSWORD.encode()):
        assert plain not in stored, plain
    w.kluis("mv", "copy", "moved")
    w.kluis("cp", "-r", ":moved", "moved")
    assert w.tree("moved") == w.tree("tree")
    w.kluis("rm", "-r", "moved", "photos")
    golden(w.kluis("ls", "-r"))


@test
def a_padded_vault(w):
    w.new_vault("--padded")
    awkward_tree(w)
    w.kluis("cp", "-r", "tree", ":")
    w.kluis("cp", "-r", ":", "back")
    assert w.tree("back") == w.tree("tree")
    again = w.kluis("cp", "-r", "tree", ":")
    assert f"copied 0 files (0 B), {len(w.tree('tree'))} skipped" in again.err, again.err
    sizes = {m["path"]: m["size"] for m in w.kluis("ls", "-r", "--json").json() if m["message_type"] == "object"}
    assert sizes["sizes/5000001"] == 5_000_001
    assert w.kluis("cat", "sizes/16385", "--range", "-5").out_bytes == w.read("tree/sizes/16385")[-5:]
    w.kluis("check")


@test
def what_is_skipped_and_what_fails(w):
    w.new_vault()
    w.write("d/good", "x")
    w.write("d/.kluis-0123456789abcdef.partial", "half")
    w.path("d/hollow/empty").mkdir(parents=True)
    w.path("d/link").symlink_to("good")
    w.path("d/dangling").symlink_to("nothing")
    w.path("d/up").symlink_to("..")
    os.mkfifo(w.path("d/fifo"))
    golden(w.kluis("cp", "-r", "d", ":"), err="""
kluis: d/.kluis-0123456789abcdef.partial: skipped, an unfinished download
kluis: d/dangling: skipped, a symbolic link; -L follows links
kluis: d/fifo: skipped, not a regular file
kluis: d/hollow/empty: skipped, an empty folder, which a vault does not have
kluis: d/link: skipped, a symbolic link; -L follows links
kluis: d/up: skipped, a symbolic link; -L follows links
kluis: copied 1 file (1 B)
""")
    golden(w.kluis("ls", "-r"), out="good")
    golden(w.kluis("cp", "d/link", ":"), err="""
kluis: d/link: skipped, a symbolic link; -L follows links
kluis: copied 0 files (0 B)
""")
    w.path("d/up").unlink()
    done = w.kluis("cp", "-r", "-L", "d", ":followed", code=3)
    assert "d/dangling" in done.err
    golden(w.kluis("ls", "-r", "followed"), out="good\nlink")
    # Names that a vault cannot hold.
    (Path(os.fsencode(w.dir).decode()) / "bad").mkdir()
    for name in (b"latin-\xe9", b"new\nline", b"bell\x07", b"fine"):
        with open(os.fsencode(w.dir) + b"/bad/" + name, "wb") as f:
            f.write(b"x")
    done = w.kluis("cp", "-r", "bad", ":bad", code=3)
    assert "3 of 4 failed, 1 copied" in done.err and "new\\u{a}line" in done.err, done.err
    golden(w.kluis("ls", "bad"), out="fine")
    w.kluis("cp", os.fsencode(w.dir) + b"/bad/latin-\xe9", ":new", code=0)
    w.kluis("cp", os.fsencode(w.dir) + b"/bad/latin-\xe9", ":", code=2)
    os.chmod(w.path("d/good"), 0)
    if os.geteuid() != 0:
        w.kluis("cp", "d/good", ":secret", code=15)


@test
def exclude_dry_run_and_the_vault_itself(w):
    w.new_vault()
    for name in ("a.txt", "b.tmp", "s/c.tmp", "s/d.txt", "node_modules/x/y", "s/node_modules/z", "build/o", "s/build/o"):
        w.write(f"d/{name}", name)
    done = w.kluis("cp", "-rn", "d", ":", "--exclude", "*.tmp", "--exclude", "node_modules", "--exclude", "/build", "--transfers", "1")
    golden(done, err="""
kluis: d/a.txt would be copied to :a.txt
kluis: d/s/build/o would be copied to :s/build/o
kluis: d/s/d.txt would be copied to :s/d.txt
kluis: would have been copied 3 files (21 B)
""")
    golden(w.kluis("ls", "-r"))
    w.kluis("cp", "-r", "d", ":")
    w.kluis("cp", "-r", ":", "out", "-n")
    assert not w.path("out").exists()
    w.kluis("cp", "-r", ":", "out", "--exclude=**/build/**", "--exclude", "*.tm[p]", "--exclude", "{build,node_modules}/")
    assert sorted(w.tree("out")) == ["a.txt", "s/d.txt"]
    w.kluis("cp", "-r", "d", ":", "--exclude", "[", code=2)
    done = w.kluis("cp", "-r", ".", ":all", "--exclude", "d", "--exclude", "out", "--exclude", "home")
    assert "vault1: skipped, it is the vault itself" in done.err, done.err
    golden(w.kluis("ls", "-r", "all"), out="password")


@test
def json_of_cp_mv_rm(w):
    w.new_vault()
    w.write("d/a", "1")
    w.write("d/b", "22")
    golden(w.kluis("cp", "-r", "d", ":x", "--json", "--transfers", "1"), out="""
{"message_type":"object","action":"copied","source":"d/a","path":":x/a","size":1}
{"message_type":"object","action":"copied","source":"d/b","path":":x/b","size":2}
{"message_type":"summary","command":"cp","items":2,"bytes":3,"skipped":0,"failed":0,"nameless":0,"foreign":0,"dry_run":false,"seconds":S}
""")
    w.write("d/a", "3")
    os.utime(w.path("d/a"), ns=(5, 5))
    golden(w.kluis("cp", "-r", "d", ":x", "--json", "--transfers", "1", code=3), out="""
{"message_type":"error","code":"already_exists","exit_code":14,"path":":x/a","message":"it exists already and differs","hint":"give --overwrite to replace it"}
{"message_type":"object","action":"skipped","source":"d/b","path":":x/b","size":2}
{"message_type":"summary","command":"cp","items":0,"bytes":0,"skipped":1,"failed":1,"nameless":0,"foreign":0,"dry_run":false,"seconds":S}
{"message_type":"error","code":"some_failed","exit_code":3,"path":null,"message":"1 of 2 failed, 0 copied","hint":"the failures are named above; run the same command again for what is left"}
""", err="""
kluis: :x/a: it exists already and differs; hint: give --overwrite to replace it
kluis: 1 of 2 failed, 0 copied; hint: the failures are named above; run the same command again for what is left
""")
    golden(w.kluis("cp", "d/a", ":x/a", "--json", "--overwrite"), out="""
{"message_type":"object","action":"replaced","source":"d/a","path":":x/a","size":1}
{"message_type":"summary","command":"cp","items":1,"bytes":1,"skipped":0,"failed":0,"nameless":0,"foreign":0,"dry_run":false,"seconds":S}
""")
    golden(w.kluis("cp", "-", ":pipe", "--json", stdin=b"abc"), out="""
{"message_type":"object","action":"copied","source":"-","path":":pipe","size":3}
""")
    golden(w.kluis("mv", "x/a", "y", "--json"), out="""
{"message_type":"object","action":"moved","source":":x/a","path":":y","size":1}
{"message_type":"summary","command":"mv","items":1,"bytes":1,"skipped":0,"failed":0,"nameless":0,"foreign":0,"dry_run":false,"seconds":S}
""")
    golden(w.kluis("rm", "y", "--json"), out="""
{"message_type":"object","action":"removed","path":":y","size":1}
{"message_type":"summary","command":"rm","items":1,"bytes":1,"skipped":0,"failed":0,"nameless":0,"foreign":0,"dry_run":false,"seconds":S}
""")
    with w.path("big").open("wb") as f:
        f.truncate(1_500_000_000)
    messages = w.kluis("cp", "big", ":big", "--json").json()
    progress = [m for m in messages if m["message_type"] == "progress"]
    for m in progress:
        assert m.keys() == {"message_type", "bytes_done", "bytes_total", "items_done", "items_total", "bytes_per_second", "seconds_remaining"}
    assert progress, "1.5 GB took less than a second"


@test
def downloads_do_not_leave_the_target(w):
    w.new_vault()
    for name in ("a/b/c", "l/x", "f", "g"):
        w.write(f"d/{name}", "from the vault")
    w.kluis("cp", "-r", "d", ":")
    w.path("outside").mkdir()
    w.write("outside/kept", "mine")
    w.path("t/a").mkdir(parents=True)
    w.path("t/a/b").symlink_to(w.path("outside"))
    w.path("t/l").symlink_to(w.path("outside"))
    w.path("t/f").symlink_to(w.path("outside/kept"))
    w.path("t/g").symlink_to(w.path("outside/new"))
    done = w.kluis("cp", "-r", ":", "t", "--overwrite", code=3)
    assert "b is in the way" in done.err and "2 of 4 failed" in done.err, done.err
    assert os.listdir(w.path("outside")) == ["kept"] and w.read("outside/kept") == b"mine"
    assert not w.path("t/f").is_symlink() and w.read("t/g") == b"from the vault"
    # The target itself is the user's own word: links there are followed.
    w.path("link").symlink_to(w.path("real"))
    w.path("real").mkdir()
    w.kluis("cp", "-r", ":", "link")
    assert len(w.tree("real")) == 4
    # Rights follow the umask.
    old = os.umask(0o027)
    try:
        w.kluis("cp", ":f", "rights")
        assert w.path("rights").stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(old)


# ---------------------------------------------------------------- interrupts


def big_tree(w):
    rng = random.Random(5)
    for i in range(300):
        w.write(f"tree/{i % 10}/{i}", rng.randbytes(60_000), 1_500_000_000_000_000_000 + i * 17)
    w.write("tree/5/large", rng.randbytes(60_000_000), 1_400_000_000_000_000_001)


def partials(folder):
    return [p for p in folder.rglob(".kluis-*")]


@test_on_each_store
def killed_half_way_and_run_again(w):
    w.new_vault()
    big_tree(w)
    expected = w.tree("tree")
    for sent in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL):
        before = w.count_stored()
        process = w.start("cp", "-r", "tree", ":t", "--transfers", "2")
        while w.count_stored() < min(before + 60, len(expected) - 5) and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(sent)
        process.communicate()
        assert process.returncode in (-9, 130, 0), process.returncode
    done = w.kluis("cp", "-r", "tree", ":t")
    assert " skipped" in done.err, done.err
    assert w.kluis("ls", "-r", "t").lines() == sorted(expected)
    w.kluis("check")
    for sent in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        before = len(w.tree("back")) if w.path("back").exists() else 0
        process = w.start("cp", "-r", ":t", "back", "--transfers", "2")
        while process.poll() is None:
            now = len([f for f in w.path("back").rglob("*") if f.is_file()]) if w.path("back").exists() else 0
            if now >= min(before + 50, len(expected) - 5):
                break
            time.sleep(0.002)
        process.send_signal(sent)
        process.communicate()
        assert process.returncode in (-9, 130, 0), process.returncode
        # Whatever has its name is whole.
        for name, found in w.tree("back").items():
            assert ".kluis-" in name or found == expected[name], name
    done = w.kluis("cp", "-r", ":t", "back")
    assert " skipped" in done.err, done.err
    assert w.tree("back") == expected
    assert partials(w.path("back")) == []


@test
def an_interrupt_leaves_nothing_behind(w):
    w.new_vault()
    with w.path("big").open("wb") as f:
        f.truncate(2_000_000_000)
    w.kluis("cp", "big", ":big")
    for sent in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process = w.start("cp", ":big", "out/big")
        while not partials(w.path("out")) if w.path("out").exists() else True:
            assert process.poll() is None, process.communicate()
            time.sleep(0.002)
        assert all(p.stat().st_mode & 0o777 == 0o600 for p in partials(w.path("out")))
        process.send_signal(sent)
        _, err = process.communicate()
        assert process.returncode == 130, (process.returncode, err)
        assert os.listdir(w.path("out")) == [], os.listdir(w.path("out"))
        assert err.decode().splitlines()[-1].startswith("kluis: interrupted; hint: "), err
    # And an upload leaves no object.
    process = w.start("cp", "big", ":again")
    time.sleep(0.8)
    process.send_signal(signal.SIGINT)
    process.communicate()
    if process.returncode == 130:
        assert "again" not in w.kluis("ls").lines()


@test_on_each_store
def two_at_once(w):
    """Two copies of one tree into one place: both end well, nothing is torn."""
    w.new_vault()
    for i in range(120):
        w.write(f"tree/{i}", CANARY * (i + 1))
    both = [w.start("cp", "-r", "tree", ":t") for _ in range(2)]
    codes = [p.wait() for p in both if p.communicate()]
    assert set(codes) <= {0, 3}, codes
    w.kluis("cp", "-r", "tree", ":t")
    w.kluis("cp", "-r", ":t", "back")
    assert w.tree("back") == w.tree("tree")


# ------------------------------------------------------------- documentation


@test
def completions_and_man_pages(w):
    for shell, sign in (("bash", "_kluis"), ("zsh", "#compdef kluis"), ("fish", "complete -c kluis")):
        assert sign in w.kluis("completions", shell).out
    assert ".TH KLUIS 1" in w.kluis("man").out
    assert ".TH KLUIS-KEY-ADD 1" in w.kluis("man", "key", "add").out
    w.kluis("man", "nothing", code=2)
    w.kluis("completions", "nothing", code=2)


@test
def every_flag_is_documented(w):
    page = (Path(__file__).parents[2] / "docs/CLI.md").read_text()
    verbs = "init cp ls cat stat mv rm check passwd completions man".split()
    for command in [[v] for v in verbs] + [["key", k] for k in ("list", "add", "remove", "rotate")] + [
            ["recovery", "export"], ["recovery", "restore"]]:
        for flag in set(re.findall(r"--[a-z][a-z-]+", w.kluis(*command, "--help").out)):
            if flag.startswith("--new-password-") or flag == "--help":
                continue
            assert re.search(rf"{flag}\b", page), f"{' '.join(command)} {flag} is not in docs/CLI.md"
    for code in "0 1 2 3 10 11 12 13 14 15 16 17 130".split():
        assert re.search(rf"^\| {code} \|", page, re.M), code


@test
def secrets_stay_out_of_arguments_and_errors(w):
    w.new_vault()
    for verb in (["ls", "--password", "x"], ["--password=x", "ls"], ["ls", "--passphrase", "x"]):
        w.kluis(*verb, code=2)
    canary = "canary-password-7391"
    everything = ""
    for args in (["ls"], ["ls", "-v", "--json"], ["cp", "nothing", ":"], ["check"]):
        for env in ({"KLUIS_PASSWORD": canary, "KLUIS_PASSWORD_FILE": None},):
            done = subprocess.run([KLUIS, *args], env={k: v for k, v in {**w.env, **env}.items() if v}, cwd=w.dir,
                                  capture_output=True, stdin=subprocess.DEVNULL, start_new_session=True)
            everything += done.stdout.decode() + done.stderr.decode()
    assert canary not in everything


if __name__ == "__main__":
    sys.exit(main())
