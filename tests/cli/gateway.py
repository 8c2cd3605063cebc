"""`kluis serve`, used by programs that know nothing of Kluis.

    KLUIS_BIN=… gateway.py [PATTERN]    with a Python that has ../gateway/requirements.txt
"""

import base64
import concurrent.futures
import datetime
import functools
import hashlib
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import boto3
import botocore.auth
import botocore.config
from botocore.exceptions import ClientError

from harness import KLUIS, TESTS, main, test, test_on_each_store
from sharing import Person

# Those of sharing are of `tests/cli/run`.
TESTS.clear()

GUIDE = Path(__file__).parents[2] / "docs" / "GUIDE.md"
CANARY = b"the quick brown canary jumps over the lazy gateway "
MIB = 1 << 20


class Gateway:
    """A running `kluis serve`."""

    def __init__(self, w, *args, env=None, json_line=True):
        self.w = w
        self.env = {k: v for k, v in {**w.env, **(env or {})}.items() if v is not None}
        options = ["--json"] if json_line else []
        if "--listen" not in args:
            options += ["--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen([KLUIS, "serve", *options, *map(str, args)],
                                        env=self.env, cwd=w.dir, start_new_session=True, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.line = self.process.stdout.readline().decode()
        if not self.line:
            raise AssertionError(f"nothing is served: {self.process.communicate()[1].decode()}")
        if json_line:
            said = json.loads(self.line)
            self.url, self.bucket = said["url"], said["bucket"]
            self.access_key, self.secret = said["access_key"], said.get("secret_key")
        else:
            self.url, self.bucket, self.access_key, *rest = self.line.split()
            self.secret = rest[0] if rest else None

    def variables(self):
        """What programs of AWS find their way by."""
        mine = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "KLUIS_"))}
        return {**mine, "HOME": str(self.w.home), "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "auto",
                "AWS_DEFAULT_REGION": "auto", "AWS_ACCESS_KEY_ID": self.access_key,
                "AWS_SECRET_ACCESS_KEY": self.secret, "BUCKET": self.bucket, "AWS_EC2_METADATA_DISABLED": "true",
                "NO_PROXY": "*"}

    def client(self, **kwargs):
        config = {"retries": {"max_attempts": 1}, "s3": {"addressing_style": "path"}, "max_pool_connections": 32,
                  **kwargs.pop("config", {})}
        options = {"endpoint_url": self.url, "aws_access_key_id": self.access_key, "region_name": "auto",
                   "aws_secret_access_key": self.secret, "config": botocore.config.Config(**config), **kwargs}
        return boto3.session.Session().client("s3", **options)

    def run(self, *args, code=0, **kwargs):
        """Another program, which finds the gateway by its environment."""
        done = subprocess.run([*map(os.fspath, args)], env=self.variables(), cwd=self.w.dir, timeout=300,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
        text = f"{args[0]}: exit {done.returncode}\n{done.stdout.decode()}\n{done.stderr.decode()}"
        assert done.returncode == code, text
        return done.stdout.decode()

    def python(self, text, *args):
        """A program in this Python. At its end nothing is taken down: threads of Arrow may outlive the
        interpreter, which then aborts after all was well."""
        return self.run(sys.executable, "-c", text + "\nimport os, sys; sys.stdout.flush(); os._exit(0)\n", *args)

    def stop(self):
        """In good order; gives what it said."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        out, err = self.process.communicate(timeout=60)
        assert self.process.returncode == 0, f"exit {self.process.returncode}: {err.decode()}"
        return err.decode()

    def kill(self):
        self.process.kill()
        self.process.communicate()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        else:
            self.kill()


def refused(call, *args, **kwargs):
    """The status and code of what is refused."""
    try:
        call(*args, **kwargs)
    except ClientError as e:
        return e.response["ResponseMetadata"]["HTTPStatusCode"], e.response["Error"]["Code"]
    raise AssertionError("it was not refused")


def fetch(url, method="GET", body=None, headers=None, context=None):
    """Status and body, by nothing but HTTP."""
    handlers = [urllib.request.ProxyHandler({})]
    if context:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as e:
        return e.code, e.read()


def content(size, seed=0):
    """Bytes that a provider would find if they lay open."""
    line = CANARY + f"{seed} ".encode()
    return (line * (size // len(line) + 1))[:size]


def nothing_readable(w, *names):
    stored = w.stored()
    assert stored
    for key, data in stored.items():
        assert CANARY not in data, key
        for name in names:
            assert name not in key.split("/"), (name, key)
            # Four letters turn up in megabytes of ciphertext by chance.
            assert len(name) < 8 or name.encode() not in data and name not in key, (name, key)


# ------------------------------------------------------------ the command


@test
def one_line_says_where_and_with_what(w):
    w.new_vault()
    with Gateway(w, json_line=False) as g:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+ vault KLUIS[0-9A-F]{20} [0-9a-f]{40}\n", g.line), g.line
        g.client().put_object(Bucket="vault", Key="a", Body=b"x")
        said = g.stop()
    assert "serving : as the bucket vault; the line is URL, bucket, access key, secret; Ctrl-C stops it" in said
    assert said.endswith("kluis: stopped\n") and g.secret not in said
    with Gateway(w, "photos", "--bucket", "my-photos", "--access-key", "myself", "--read-only") as g:
        said = json.loads(g.line)
        assert said.keys() == {"message_type", "url", "bucket", "path", "region", "access_key", "secret_key",
                               "read_only"}, said
        assert (said["message_type"], said["bucket"], said["path"], said["region"], said["access_key"],
                said["read_only"]) == ("gateway", "my-photos", "photos", "auto", "myself", True)
    # A given secret is not shown again; the file wins over the environment.
    w.write("secret", "s" * 20 + "\n")
    for args, env, secret in [((), {"KLUIS_SERVE_SECRET": "e" * 16}, "e" * 16),
                              (("--secret-file", "secret"), {"KLUIS_SERVE_SECRET": "e" * 16}, "s" * 20)]:
        with Gateway(w, *args, env=env) as g:
            assert g.secret is None
            g.secret = secret
            assert g.client().get_object(Bucket="vault", Key="a")["Body"].read() == b"x"
            assert secret not in g.line + g.stop()


@test
def what_cannot_be_served_is_said_before_anything_is_asked(w):
    w.new_vault()
    no_password = {"KLUIS_PASSWORD_FILE": None}
    for args, message in [
        (("--listen", "0.0.0.0:0"), "--tls-cert"),
        (("--listen", "[::]:0"), "--tls-cert"),
        (("--listen", "192.0.2.1:9000"), "--tls-cert"),
        (("--listen", "nowhere"), "127.0.0.1:9000"),
        (("--bucket", "No"), "no name of a bucket"),
        (("--access-key", "a b"), "no access key"),
        (("--tls-cert", "x"), "--tls-key"),
        (("--tls-cert", "password", "--tls-key", "password"), "PEM"),
        (("--buffer", "0"), "--buffer"),
    ]:
        done = w.kluis("serve", *args, code=2, env=no_password)
        assert message in done.err and not done.out, (args, done.err)
    short = w.kluis("serve", code=2, env={**no_password, "KLUIS_SERVE_SECRET": "short-secret"})
    assert "16 to 128" in short.err and "short-secret" not in short.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = w.kluis("serve", "--listen", f"127.0.0.1:{port}", code=1, env=no_password)
        assert "cannot listen on" in done.err


@test
def an_address_of_others_takes_tls(w):
    w.new_vault()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-keyout", "key.pem", "-out", "cert.pem", "-days", "2", "-subj", "/CN=kluis",
                    "-addext", "subjectAltName=IP:127.0.0.1"], cwd=w.dir, check=True, capture_output=True)
    tls = ("--tls-cert", "cert.pem", "--tls-key", "key.pem")
    with Gateway(w, *tls, "--listen", "0.0.0.0:0") as g:
        url = g.url.replace("0.0.0.0", "127.0.0.1")
        assert url.startswith("https://")
        s3 = g.client(endpoint_url=url, verify=str(w.path("cert.pem")))
        # Over TLS boto3 sends the content in chunks with the checksum behind them.
        for size, algorithm in [(0, "CRC32"), (5, "SHA256"), (300_000, "CRC32"), (20 * MIB, "SHA1")]:
            s3.put_object(Bucket="vault", Key="a", Body=content(size), ChecksumAlgorithm=algorithm)
            assert s3.get_object(Bucket="vault", Key="a")["Body"].read() == content(size)
        context = ssl.create_default_context(cafile=str(w.path("cert.pem")))
        assert fetch(f"{url}/vault", context=context)[0] == 403


# ------------------------------------------------------------ objects


@test_on_each_store
def objects_come_and_go(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == ["vault"]
        s3.head_bucket(Bucket="vault")
        assert s3.get_bucket_location(Bucket="vault")["LocationConstraint"] is None
        s3.create_bucket(Bucket="vault")
        assert refused(s3.create_bucket, Bucket="another") == (501, "NotImplemented")
        assert refused(s3.list_objects_v2, Bucket="another") == (404, "NoSuchBucket")
        assert "Contents" not in s3.list_objects_v2(Bucket="vault")
        assert refused(s3.get_object, Bucket="vault", Key="a")[1] == "NoSuchKey"
        for size in (0, 1, 16384, MIB + 1, 20 * MIB + 7):
            data = content(size, size)
            md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
            put = s3.put_object(Bucket="vault", Key="f/a", Body=data, ContentMD5=md5)
            head = s3.head_object(Bucket="vault", Key="f/a")
            got = s3.get_object(Bucket="vault", Key="f/a")
            assert got["Body"].read() == data
            assert put["ETag"] == head["ETag"] == got["ETag"] and head["ContentLength"] == size
            assert not re.fullmatch(r'"[0-9a-f]{32}(-\d+)?"', put["ETag"]), put["ETag"]
            assert abs((datetime.datetime.now(datetime.timezone.utc) - head["LastModified"]).total_seconds()) < 120
            (listed,) = s3.list_objects_v2(Bucket="vault")["Contents"]
            assert (listed["Key"], listed["Size"], listed["ETag"]) == ("f/a", size, put["ETag"])
        # The command sees what the gateway wrote, and the other way round.
        assert w.kluis("cat", "--range", "..40", "f/a").out == data[:40].decode()
        w.write("local", "from the command")
        w.kluis("cp", "local", ":f/b")
        assert s3.get_object(Bucket="vault", Key="f/b")["Body"].read() == b"from the command"
        s3.delete_object(Bucket="vault", Key="f/a")
        s3.delete_object(Bucket="vault", Key="f/a")
        assert w.kluis("ls", "f").out == "b\n"
    nothing_readable(w, "vault/f")


@test_on_each_store
def any_range(w):
    w.new_vault()
    data = bytes(i * 7 % 256 for i in range(100_000))
    with Gateway(w) as g:
        s3 = g.client()
        s3.put_object(Bucket="vault", Key="a", Body=data)
        s3.put_object(Bucket="vault", Key="empty", Body=b"")
        for said, expected in [("0-0", data[:1]), ("10-19", data[10:20]), ("16383-16384", data[16383:16385]),
                               ("99999-", data[99999:]), ("50000-", data[50000:]), ("90000-200000", data[90000:]),
                               ("-1", data[-1:]), ("-50000", data[-50000:]), ("-200000", data)]:
            got = s3.get_object(Bucket="vault", Key="a", Range=f"bytes={said}")
            body = got["Body"].read()
            start = len(data) - len(expected) if said.startswith("-") else int(said.split("-")[0])
            assert body == expected and got["ResponseMetadata"]["HTTPStatusCode"] == 206, said
            assert got["ContentRange"] == f"bytes {start}-{start + len(expected) - 1}/100000", got["ContentRange"]
            head = s3.head_object(Bucket="vault", Key="a", Range=f"bytes={said}")
            assert head["ContentLength"] == len(expected), said
        for key, said in [("a", "100000-"), ("a", "200000-200001"), ("a", "-0"), ("empty", "0-"), ("empty", "0-5")]:
            assert refused(s3.get_object, Bucket="vault", Key=key, Range=f"bytes={said}") == (416, "InvalidRange"), said
        assert refused(s3.get_object, Bucket="vault", Key="none", Range="bytes=0-1")[1] == "NoSuchKey"
        assert refused(s3.get_object, Bucket="vault", Key="a", PartNumber=1) == (501, "NotImplemented")


@test_on_each_store
def conditions_hold(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        put = functools.partial(s3.put_object, Bucket="vault", Key="a")
        get = functools.partial(s3.get_object, Bucket="vault", Key="a")
        first = put(Body=b"1", IfNoneMatch="*")["ETag"]
        assert refused(put, Body=b"2", IfNoneMatch="*") == (412, "PreconditionFailed")
        assert get()["Body"].read() == b"1"
        assert get(IfMatch=first)["Body"].read() == b"1"
        assert refused(get, IfNoneMatch=first)[0] == 304
        assert refused(get, IfNoneMatch="*")[0] == 304
        assert refused(get, IfMatch='"0123456789abcdef0123456789abcdef"') == (412, "PreconditionFailed")
        assert get(IfNoneMatch='"0123456789abcdef0123456789abcdef"')["Body"].read() == b"1"
        moment = s3.head_object(Bucket="vault", Key="a")["LastModified"]
        day = datetime.timedelta(days=1)
        assert get(IfModifiedSince=moment - day)["Body"].read() == b"1"
        assert refused(get, IfModifiedSince=moment)[0] == 304
        assert get(IfUnmodifiedSince=moment)["Body"].read() == b"1"
        assert refused(get, IfUnmodifiedSince=moment - day) == (412, "PreconditionFailed")
        assert refused(put, Body=b"2", IfNoneMatch=first) == (501, "NotImplemented")
        assert refused(put, Body=b"2", IfMatch='"else"')[0] == 412
        assert refused(s3.put_object, Bucket="vault", Key="none", Body=b"2", IfMatch=first)[0] == 404
        if w.store == "folder":
            # Such a store knows no conditional replacing.
            assert refused(put, Body=b"2", IfMatch=first) == (501, "NotImplemented")
        else:
            second = put(Body=b"2", IfMatch=first)["ETag"]
            assert refused(put, Body=b"3", IfMatch=first) == (412, "PreconditionFailed")
            put(Body=b"3", IfMatch=second)
        # Of many who want to be first, one is.
        names = [f"race-{n}" for n in range(4)]
        for name in names:
            def first_of_many(n):
                try:
                    s3.put_object(Bucket="vault", Key=name, Body=str(n).encode() * 1000, IfNoneMatch="*")
                    return n
                except ClientError as e:
                    assert e.response["Error"]["Code"] in ("PreconditionFailed", "OperationAborted"), e
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                won = [n for n in pool.map(first_of_many, range(8)) if n is not None]
            assert len(won) == 1, won
            assert s3.get_object(Bucket="vault", Key=name)["Body"].read() == str(won[0]).encode() * 1000
        assert refused(s3.delete_object, Bucket="vault", Key="a", IfMatch=first) == (501, "NotImplemented")


ODD_NAMES = ["with space", "a+b", "100%", "%2F", "a%20b", "ünïcode/日本語", "emoji 🦀", "e\u0301 and é", "q?x=1&y=2#z",
             "semi;colon:colon", "'single' \"double\"", "back\\slash", "tilde~", "(brackets)[]{}", "=,@!$*",
             "a/b/c/d/e/f", "n" * 200, "<xml>&amp;", ".hidden", "trailing.", "-rf"]


@test_on_each_store
def odd_names_stay_what_they_are(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        for name in ODD_NAMES:
            s3.put_object(Bucket="vault", Key=name, Body=name.encode())
        for name in ODD_NAMES:
            assert s3.get_object(Bucket="vault", Key=name)["Body"].read() == name.encode(), name
        expected = sorted(ODD_NAMES, key=str.encode)
        assert [o["Key"] for o in s3.list_objects_v2(Bucket="vault")["Contents"]] == expected
        assert [o["Key"] for o in s3.list_objects(Bucket="vault")["Contents"]] == expected
        listed = [m["path"] for m in w.kluis("ls", "-r", "--json").json() if m["message_type"] == "object"]
        assert sorted(listed, key=str.encode) == expected
        for name in ODD_NAMES[:8]:
            s3.copy_object(Bucket="vault", Key=name + ".copy", CopySource={"Bucket": "vault", "Key": name})
            assert s3.get_object(Bucket="vault", Key=name + ".copy")["Body"].read() == name.encode(), name
            url = s3.generate_presigned_url("get_object", {"Bucket": "vault", "Key": name})
            assert fetch(url) == (200, name.encode()), name
        deleted = s3.delete_objects(Bucket="vault", Delete={"Objects": [{"Key": n} for n in ODD_NAMES]})
        assert sorted(d["Key"] for d in deleted["Deleted"]) == sorted(ODD_NAMES)
        assert all(o["Key"].endswith(".copy") for o in s3.list_objects_v2(Bucket="vault")["Contents"])
        # And what no vault can hold is said to be that.
        for name in ["a//b", "/a", "./a", "a/../b", "a\nb", "a\x7fb", "//"]:
            assert refused(s3.put_object, Bucket="vault", Key=name, Body=b"")[0] == 400, name
            assert refused(s3.get_object, Bucket="vault", Key=name)[0] == 400, name
        # Folders come and go with what lies in them.
        s3.put_object(Bucket="vault", Key="folder/", Body=b"")
        assert refused(s3.put_object, Bucket="vault", Key="folder/", Body=b"x")[1] == "InvalidArgument"
        assert refused(s3.head_object, Bucket="vault", Key="folder/")[0] == 404
        s3.put_object(Bucket="vault", Key="folder/a", Body=b"")
        assert s3.head_object(Bucket="vault", Key="folder/")["ContentLength"] == 0
        s3.delete_object(Bucket="vault", Key="folder/")
        assert s3.head_object(Bucket="vault", Key="folder/a")["ContentLength"] == 0


@test_on_each_store
def metadata_and_copies(w):
    w.new_vault()
    kept = {"ContentType": "text/x-kluis", "CacheControl": "max-age=5", "Metadata": {"colour": "ultramarine"}}
    if w.store == "s3":
        kept |= {"ContentDisposition": 'attachment; filename="a.txt"', "ContentEncoding": "identity",
                 "ContentLanguage": "nl", "Metadata": {"colour": "ultramarine", "long": "x" * 200}}
    with Gateway(w) as g:
        s3 = g.client()
        if w.store == "folder":
            # There it has to fit into the head of the object.
            for size in (5, 9 * MIB):
                assert refused(s3.put_object, Bucket="vault", Key="long", Body=content(size),
                               Metadata={"long": "x" * 200}) == (400, "MetadataTooLarge")
        has = lambda key: {k: v for k, v in s3.head_object(Bucket="vault", Key=key).items() if k in kept}
        s3.put_object(Bucket="vault", Key="a", Body=content(9 * MIB), **kept)
        assert has("a") == kept
        got = s3.get_object(Bucket="vault", Key="a")
        assert {k: v for k, v in got.items() if k in kept} == kept and len(got["Body"].read()) == 9 * MIB
        s3.put_object(Bucket="vault", Key="plain", Body=b"")
        assert has("plain") == {"ContentType": "binary/octet-stream", "Metadata": {}}
        shown = s3.get_object(Bucket="vault", Key="a", ResponseContentType="text/html", ResponseCacheControl="no-store",
                              ResponseContentDisposition="inline")
        assert (shown["ContentType"], shown["CacheControl"], shown["ContentDisposition"]) == (
            "text/html", "no-store", "inline")
        shown["Body"].read()
        copy = functools.partial(s3.copy_object, Bucket="vault", Key="b", CopySource="vault/a")
        done = copy()["CopyObjectResult"]
        assert has("b") == kept and done["ETag"] == s3.head_object(Bucket="vault", Key="b")["ETag"]
        copy(MetadataDirective="REPLACE", ContentType="text/plain", Metadata={"colour": "red"})
        assert has("b") == {"ContentType": "text/plain", "Metadata": {"colour": "red"}}
        assert s3.get_object(Bucket="vault", Key="b")["Body"].read() == content(9 * MIB)
        # Onto itself, as tools change metadata.
        assert refused(copy, Key="a")[1] == "InvalidRequest"
        copy(Key="a", MetadataDirective="REPLACE", Metadata={"colour": "green"})
        assert has("a")["Metadata"] == {"colour": "green"}
        e_tag = s3.head_object(Bucket="vault", Key="a")["ETag"]
        copy(CopySourceIfMatch=e_tag)
        assert refused(copy, CopySourceIfMatch='"else"') == (412, "PreconditionFailed")
        assert refused(copy, CopySourceIfNoneMatch=e_tag) == (412, "PreconditionFailed")
        # A condition on the target would be passed over.
        assert refused(copy, IfNoneMatch="*") == (501, "NotImplemented")
        assert refused(copy, CopySource="vault/none")[1] == "NoSuchKey"
        assert refused(copy, CopySource="another/a")[1] == "NoSuchBucket"
        # What would be a lie is refused.
        put = functools.partial(s3.put_object, Bucket="vault", Key="c", Body=b"")
        for lie in [{"StorageClass": "GLACIER"}, {"ACL": "public-read"}, {"Tagging": "a=b"},
                    {"ServerSideEncryption": "aws:kms"}, {"WebsiteRedirectLocation": "/x"},
                    {"GrantRead": "id=1"}, {"ObjectLockLegalHoldStatus": "ON"},
                    {"Expires": datetime.datetime(2030, 1, 1)}]:
            assert refused(put, **lie) == (501, "NotImplemented"), lie
        put(StorageClass="STANDARD", ACL="private", ServerSideEncryption="AES256")
        assert refused(put, Metadata={"long": "x" * 3000})[0] == 400
        for call in [s3.get_object_tagging, s3.get_object_acl]:
            assert refused(call, Bucket="vault", Key="a") == (501, "NotImplemented"), call
        assert refused(s3.get_bucket_policy, Bucket="vault")[0] == 501
    nothing_readable(w, "ultramarine", "x-kluis")


@test
def checksums_are_compared_before_anything_is_kept(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        good = {"CRC32": "ChecksumCRC32", "SHA1": "ChecksumSHA1", "SHA256": "ChecksumSHA256"}
        for algorithm, field in good.items():
            put = s3.put_object(Bucket="vault", Key="a", Body=b"abc", ChecksumAlgorithm=algorithm)
            assert put[field], put
        for size in (3, 20 * MIB):
            for wrong in [{"ChecksumSHA256": "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="},
                          {"ChecksumCRC32": "AAAAAA=="}, {"ContentMD5": "kAFQmDzST7DWlj99KOF/cg=="}]:
                body = content(size) if size > 3 else b"abd"
                assert refused(s3.put_object, Bucket="vault", Key="b", Body=body, **wrong) == (400, "BadDigest"), wrong
        # What was signed is what has to come.
        url = s3.generate_presigned_url("put_object", {"Bucket": "vault", "Key": "b"})
        status, _ = fetch(url, "PUT", b"abc", {"x-amz-content-sha256": hashlib.sha256(b"abd").hexdigest()})
        assert status == 400, status
        assert [o["Key"] for o in s3.list_objects_v2(Bucket="vault")["Contents"]] == ["a"]


# ------------------------------------------------------------ listings


@test
def thousands_of_keys_come_in_pages(w):
    w.new_vault()
    names = [f"data/{n % 50:02}/file {n:04}" for n in range(2500)]
    for name in names:
        w.write(f"tree/{name}", name)
    w.kluis("cp", "-r", "tree", ":")
    names.sort()
    with Gateway(w) as g:
        s3 = g.client()
        pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="vault"))
        assert [p["KeyCount"] for p in pages] == [1000, 1000, 500]
        assert [o["Key"] for p in pages for o in p["Contents"]] == names
        for version in ("list_objects", "list_objects_v2"):
            pages = list(s3.get_paginator(version).paginate(Bucket="vault", PaginationConfig={"PageSize": 333}))
            assert [o["Key"] for p in pages for o in p["Contents"]] == names and len(pages) == 8
            # By folders, and by a delimiter that is none of a path.
            pages = list(s3.get_paginator(version).paginate(Bucket="vault", Prefix="data/", Delimiter="/",
                                                            PaginationConfig={"PageSize": 7}))
            assert [c["Prefix"] for p in pages for c in p["CommonPrefixes"]] == [f"data/{n:02}/" for n in range(50)]
            pages = list(s3.get_paginator(version).paginate(Bucket="vault", Prefix="data/1", Delimiter="file",
                                                            PaginationConfig={"PageSize": 3}))
            assert [c["Prefix"] for p in pages for c in p["CommonPrefixes"]] == [f"data/1{n}/file" for n in range(10)]
        listed = s3.list_objects_v2(Bucket="vault", Prefix="data/07/file 00", MaxKeys=10, FetchOwner=True)
        assert [o["Key"] for o in listed["Contents"]] == [f"data/07/file {n:04}" for n in (7, 57)]
        assert listed["Contents"][0]["Owner"]["ID"] == "kluis"
        after = s3.list_objects_v2(Bucket="vault", StartAfter=names[2490])
        assert [o["Key"] for o in after["Contents"]] == names[2491:]
        assert s3.list_objects_v2(Bucket="vault", MaxKeys=0)["KeyCount"] == 0
        assert refused(s3.list_objects_v2, Bucket="vault", ContinuationToken="zz")[1] == "InvalidArgument"
        # What is written between two pages is on the one that it belongs to.
        first = s3.list_objects_v2(Bucket="vault")
        s3.put_object(Bucket="vault", Key="data/zz", Body=b"")
        rest = s3.get_paginator("list_objects_v2").paginate(
            Bucket="vault", StartAfter=first["Contents"][-1]["Key"])
        assert [o["Key"] for p in rest for o in p["Contents"]][-1] == "data/zz"
        second = s3.list_objects_v2(Bucket="vault", ContinuationToken=first["NextContinuationToken"])
        third = s3.list_objects_v2(Bucket="vault", ContinuationToken=second["NextContinuationToken"])
        assert third["Contents"][-1]["Key"] == "data/zz" and not third["IsTruncated"]
        # All at once, as tools empty a bucket.
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket="vault"):
            done = s3.delete_objects(Bucket="vault", Delete={"Objects": [{"Key": o["Key"]} for o in page["Contents"]],
                                                             "Quiet": True})
            assert "Deleted" not in done and "Errors" not in done, done
        assert "Contents" not in s3.list_objects_v2(Bucket="vault")
        mixed = s3.delete_objects(Bucket="vault", Delete={"Objects": [{"Key": "a"}, {"Key": "a//b"}]})
        assert [d["Key"] for d in mixed["Deleted"]] == ["a"]
        assert [(e["Key"], e["Code"]) for e in mixed["Errors"]] == [("a//b", "InvalidArgument")]
    assert w.kluis("ls").out == ""


# ------------------------------------------------------------ uploads in parts


def begin(s3, key, **kwargs):
    id = s3.create_multipart_upload(Bucket="vault", Key=key, **kwargs)["UploadId"]
    return {"Bucket": "vault", "Key": key, "UploadId": id}


def complete(s3, upload, parts, **kwargs):
    listed = [{"PartNumber": n, "ETag": e_tag} for n, e_tag in sorted(parts.items())]
    return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": listed}, **kwargs)


@test_on_each_store
def parts_in_any_order(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        bodies = {n: content(5 * MIB + n, n) for n in range(1, 7)}
        whole = b"".join(bodies[n] for n in sorted(bodies))

        def send(upload, number):
            return number, s3.upload_part(**upload, PartNumber=number, Body=bodies[number])["ETag"]

        for name, order in [("in order", [1, 2, 3, 4, 5, 6]), ("backwards", [6, 5, 4, 3, 2, 1])]:
            upload = begin(s3, name, ContentType="text/x-parts", Metadata={"k": "v"})
            parts = dict(send(upload, number) for number in order)
            listed = s3.list_parts(**upload)["Parts"]
            assert [(p["PartNumber"], p["Size"], p["ETag"]) for p in listed] == [
                (n, len(bodies[n]), parts[n]) for n in sorted(bodies)]
            done = complete(s3, upload, parts)
            assert complete(s3, upload, parts)["ETag"] == done["ETag"], "an answer that was lost comes again"
            got = s3.get_object(Bucket="vault", Key=name)
            assert got["Body"].read() == whole and got["ETag"] == done["ETag"]
            assert (got["ContentType"], got["Metadata"]) == ("text/x-parts", {"k": "v"})
        upload = begin(s3, "at once")
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            parts = dict(pool.map(functools.partial(send, upload), [2, 4, 6, 1, 3, 5]))
        complete(s3, upload, parts)
        assert s3.get_object(Bucket="vault", Key="at once")["Body"].read() == whole

        # A part that was sent again is the same part, or it is refused.
        upload = begin(s3, "again")
        parts = dict([send(upload, 1), send(upload, 2), send(upload, 1), send(upload, 4)])
        assert refused(s3.upload_part, **upload, PartNumber=1, Body=b"else")[1] == "InvalidRequest"
        parts[4] = s3.upload_part(**upload, PartNumber=4, Body=b"else")["ETag"]
        assert refused(complete, s3, upload, {1: parts[1], 2: parts[1]})[1] == "InvalidPart"
        assert refused(complete, s3, upload, {1: parts[1], 3: parts[2]})[1] == "InvalidPart"
        assert refused(complete, s3, upload, {1: parts[1]})[1] == "InvalidPart"
        assert refused(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": [
            {"PartNumber": 2, "ETag": parts[2]}, {"PartNumber": 1, "ETag": parts[1]}]})[1] == "InvalidPartOrder"
        # Numbers need not follow on each other.
        complete(s3, upload, parts)
        assert s3.get_object(Bucket="vault", Key="again")["Body"].read() == bodies[1] + bodies[2] + b"else"
        upload = begin(s3, "gaps")
        parts = dict([send(upload, 5), send(upload, 3)])
        send(upload, 6)
        complete(s3, upload, parts)
        assert s3.get_object(Bucket="vault", Key="gaps")["Body"].read() == bodies[3] + bodies[5]

        # Parts of what is there already.
        upload = begin(s3, "copies")
        copy = functools.partial(s3.upload_part_copy, **upload, CopySource={"Bucket": "vault", "Key": "gaps"})
        parts = {1: copy(PartNumber=1)["CopyPartResult"]["ETag"],
                 2: copy(PartNumber=2, CopySourceRange="bytes=100-199")["CopyPartResult"]["ETag"]}
        complete(s3, upload, parts)
        gaps = bodies[3] + bodies[5]
        assert s3.get_object(Bucket="vault", Key="copies")["Body"].read() == gaps + gaps[100:200]
    nothing_readable(w)


@test_on_each_store
def uploads_that_are_given_up_leave_nothing(w):
    w.new_vault()
    with Gateway(w, "--buffer", "20") as g:
        s3 = g.client()
        upload = begin(s3, "f/a")
        s3.upload_part(**upload, PartNumber=1, Body=content(9 * MIB))
        s3.upload_part(**upload, PartNumber=3, Body=content(9 * MIB))
        (listed,) = s3.list_multipart_uploads(Bucket="vault")["Uploads"]
        assert (listed["Key"], listed["UploadId"]) == ("f/a", upload["UploadId"])
        assert "Contents" not in s3.list_objects_v2(Bucket="vault")
        # No room for another that is not next, and one that is next always has it.
        s3.upload_part(**upload, PartNumber=4, Body=content(9 * MIB))
        once = g.client(config={"retries": {"max_attempts": 0}})
        assert refused(once.upload_part, **upload, PartNumber=5, Body=content(9 * MIB)) == (503, "SlowDown")
        s3.upload_part(**upload, PartNumber=2, Body=content(9 * MIB))
        s3.upload_part(**upload, PartNumber=5, Body=content(9 * MIB))
        s3.abort_multipart_upload(**upload)
        for call in [lambda: s3.abort_multipart_upload(**upload), lambda: s3.list_parts(**upload),
                     lambda: s3.upload_part(**upload, PartNumber=1, Body=b""), lambda: complete(s3, upload, {1: "x"})]:
            assert refused(call) == (404, "NoSuchUpload")
        assert "Uploads" not in s3.list_multipart_uploads(Bucket="vault")
        # Too large a part, and no such number.
        upload = begin(s3, "f/a")
        assert refused(s3.upload_part, **upload, PartNumber=0, Body=b"")[0] == 400
        assert refused(s3.upload_part, **upload, PartNumber=10_001, Body=b"")[0] == 400
        with open(w.path("large"), "wb") as large:
            large.truncate(128 * MIB + 1)
        with open(w.path("large"), "rb") as large:
            assert refused(s3.upload_part, **upload, PartNumber=1, Body=large)[1] == "EntityTooLarge"
        # A client that goes away in the middle.
        half = s3.generate_presigned_url("put_object", {"Bucket": "vault", "Key": "f/b"})
        host, port = g.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as stream:
            path = half.removeprefix(g.url)
            stream.sendall(f"PUT {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {40 * MIB}\r\n\r\n".encode())
            stream.sendall(content(20 * MIB))
        assert "Contents" not in s3.list_objects_v2(Bucket="vault")
        # The gateway is stopped, with an upload open.
        s3.upload_part(**upload, PartNumber=1, Body=content(20 * MIB))
    assert w.count_stored() == 0, w.stored().keys()
    assert w.kluis("ls", "-r").out == ""
    w.kluis("check")


@test
def completing_under_a_condition(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()

        def attempt(key, size, **kwargs):
            upload = begin(s3, key)
            part = s3.upload_part(**upload, PartNumber=1, Body=content(size))["ETag"]
            return complete(s3, upload, {1: part}, **kwargs)

        attempt("a", 8 * MIB, IfNoneMatch="*")
        assert refused(attempt, "a", 5, IfNoneMatch="*") == (412, "PreconditionFailed")
        assert s3.head_object(Bucket="vault", Key="a")["ContentLength"] == 8 * MIB
        # More than one request of a store takes is refused, rather than written without it.
        assert refused(attempt, "b", 8 * MIB + 1, IfNoneMatch="*") == (501, "NotImplemented")
        assert refused(attempt, "a", 5, IfMatch='"else"')[0] == 412
        assert refused(s3.head_object, Bucket="vault", Key="b")[0] == 404
        assert refused(attempt, "c", 5, MpuObjectSize=6)[1] == "InvalidRequest"


@test_on_each_store
def large_files_by_boto3(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        w.write("large", content(60 * MIB + 11))
        for algorithm in ("CRC32", "SHA256"):
            s3.upload_file(str(w.path("large")), "vault", "f/large", ExtraArgs={"ChecksumAlgorithm": algorithm})
            s3.download_file("vault", "f/large", str(w.path("back")))
            assert w.read("back") == w.read("large"), algorithm
        s3.copy({"Bucket": "vault", "Key": "f/large"}, "vault", "f/copy")
        s3.download_file("vault", "f/copy", str(w.path("back")))
        assert w.read("back") == w.read("large")
    nothing_readable(w)


@test
def a_kill_in_the_middle_leaves_nothing(w):
    w.new_vault()
    g = Gateway(w)
    s3 = g.client()
    s3.put_object(Bucket="vault", Key="f/a", Body=b"before")
    upload = begin(s3, "f/a")
    s3.upload_part(**upload, PartNumber=1, Body=content(20 * MIB))
    url = s3.generate_presigned_url("put_object", {"Bucket": "vault", "Key": "f/a"})
    host, port = g.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as stream:
        path = url.removeprefix(g.url)
        stream.sendall(f"PUT {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {40 * MIB}\r\n\r\n".encode())
        stream.sendall(content(30 * MIB))
        g.kill()
    assert w.kluis("cat", "f/a").out == "before"
    assert w.kluis("ls", "-r").out == "f/a\n"
    w.kluis("check")
    nothing_readable(w)
    with Gateway(w) as g:
        s3 = g.client()
        assert refused(s3.upload_part, **upload, PartNumber=2, Body=b"x")[1] == "NoSuchUpload"
        s3.put_object(Bucket="vault", Key="f/a", Body=content(20 * MIB))


# ------------------------------------------------------------ who may


@test
def only_who_has_the_secret(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        s3.put_object(Bucket="vault", Key="a", Body=b"x")
        calls = [lambda c: c.list_buckets(), lambda c: c.list_objects_v2(Bucket="vault"),
                 lambda c: c.get_object(Bucket="vault", Key="a"),
                 lambda c: c.put_object(Bucket="vault", Key="a", Body=b"y"),
                 lambda c: c.delete_object(Bucket="vault", Key="a")]
        for call in calls:
            assert refused(call, g.client(aws_secret_access_key="0" * 40)) == (403, "SignatureDoesNotMatch")
            assert refused(call, g.client(aws_access_key_id="someone")) == (403, "InvalidAccessKeyId")
            assert refused(call, g.client(config={"signature_version": botocore.UNSIGNED})) == (403, "AccessDenied")
        assert refused(g.client(config={"signature_version": "s3"}).list_buckets) == (400, "InvalidRequest")
        for path in ("/", "/vault", "/vault/a", "/vault?uploads", "/vault/a?uploadId=1&partNumber=1"):
            for method in ("GET", "PUT", "POST", "DELETE"):
                assert fetch(g.url + path, method, b"" if method in ("PUT", "POST") else None)[0] in (403, 400, 405, 501), (
                    method, path)
        form = b"--x\r\nContent-Disposition: form-data; name=\"key\"\r\n\r\na\r\n--x\r\nContent-Disposition: form-data; " \
               b"name=\"file\"; filename=\"a\"\r\n\r\nevil\r\n--x--\r\n"
        assert fetch(f"{g.url}/vault", "POST", form, {"Content-Type": "multipart/form-data; boundary=x"})[0] == 501

        # The clock of whoever signs is near ours.
        real = botocore.auth.get_current_datetime
        for minutes, good in [(-20, False), (-10, True), (10, True), (20, False)]:
            shifted = lambda *a, **k: real(*a, **k) + datetime.timedelta(minutes=minutes)
            botocore.auth.get_current_datetime = shifted
            try:
                if good:
                    g.client().list_buckets()
                else:
                    assert refused(g.client().list_buckets) == (403, "RequestTimeTooSkewed"), minutes
            finally:
                botocore.auth.get_current_datetime = real
        assert s3.get_object(Bucket="vault", Key="a")["Body"].read() == b"x"

    with Gateway(w, "--read-only") as g:
        s3 = g.client()
        assert s3.get_object(Bucket="vault", Key="a")["Body"].read() == b"x"
        for call in [lambda: s3.put_object(Bucket="vault", Key="b", Body=b""),
                     lambda: s3.delete_object(Bucket="vault", Key="a"), lambda: begin(s3, "b"),
                     lambda: s3.delete_objects(Bucket="vault", Delete={"Objects": [{"Key": "a"}]}),
                     lambda: s3.copy_object(Bucket="vault", Key="b", CopySource="vault/a")]:
            assert refused(call) == (403, "AccessDenied")
    assert w.kluis("ls").out == "a\n"


@test
def presigned_urls(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        s3.put_object(Bucket="vault", Key="secret", Body=b"what only the owner reads")
        sign = lambda op, key, seconds=60: s3.generate_presigned_url(op, {"Bucket": "vault", "Key": key},
                                                                   ExpiresIn=seconds)
        put, get = sign("put_object", "a"), sign("get_object", "a")
        assert fetch(put, "PUT", b"content")[0] == 200
        assert fetch(get) == (200, b"content")
        assert fetch(get, headers={"Range": "bytes=0-2"}) == (206, b"con")
        # It is good for this request and no other.
        assert fetch(get, "DELETE")[0] == 403 and fetch(get, "PUT", b"x")[0] == 403
        assert fetch(get.replace("/vault/a?", "/vault/secret?"))[0] == 403
        assert fetch(get.replace("X-Amz-Expires=60", "X-Amz-Expires=600"))[0] == 403
        changed = get[:-1] + ("0" if get[-1] != "0" else "1")
        assert fetch(changed)[0] == 403
        assert fetch(get + "&response-content-type=text/html")[0] == 403
        # No header makes another of it.
        assert fetch(put, "PUT", b"", {"x-amz-copy-source": "/vault/secret"})[0] == 403
        assert fetch(put, "PUT", b"", {"x-amz-meta-a": "b"})[0] == 403
        spelt = put.replace("X-Amz-SignedHeaders", "X-Amz-Signed%48eaders")
        assert spelt != put and fetch(spelt, "PUT", b"", {"x-amz-copy-source": "/vault/secret"})[0] == 403
        assert fetch(get) == (200, b"content")
        short = sign("get_object", "a", 1)
        time.sleep(2.1)
        status, body = fetch(short)
        assert status == 403 and b"expired" in body
        assert fetch(sign("get_object", "a", 7 * 24 * 3600 + 1))[0] == 400


@test
def a_folder_and_a_share_are_buckets_too(w):
    w.new_vault()
    w.write("photos/cat.jpg", "meow")
    w.write("diary.txt", "dear diary")
    w.kluis("cp", "-r", "photos", ":photos")
    w.kluis("cp", "diary.txt", ":")
    with Gateway(w, "photos") as g:
        s3 = g.client()
        assert [o["Key"] for o in s3.list_objects_v2(Bucket="vault")["Contents"]] == ["cat.jpg"]
        assert refused(s3.get_object, Bucket="vault", Key="diary.txt")[1] == "NoSuchKey"
        assert refused(s3.get_object, Bucket="vault", Key="../diary.txt")[0] == 400
        s3.put_object(Bucket="vault", Key="dog.jpg", Body=b"woof")
    assert w.kluis("cat", "photos/dog.jpg").out == "woof"
    bob = Person(w, "bob")
    bob.is_contact()
    shared = w.kluis("share", "photos", "bob")
    bob.accept(shared.lines()[0])
    with Gateway(w, "photos", env=bob.env) as g:
        s3 = g.client()
        assert s3.get_object(Bucket="vault", Key="cat.jpg")["Body"].read() == b"meow"
        assert refused(s3.put_object, Bucket="vault", Key="x", Body=b"") == (403, "AccessDenied")


@test
def what_was_altered_is_an_error_and_never_data(w):
    w.new_vault()
    with Gateway(w) as g:
        s3 = g.client()
        s3.put_object(Bucket="vault", Key="small", Body=content(1000))
        s3.put_object(Bucket="vault", Key="large", Body=content(4 * MIB))
        for path in (Path(w.url) / "o").rglob("*"):
            if path.is_file():
                data = bytearray(path.read_bytes())
                data[len(data) // 2] ^= 1
                path.write_bytes(data)
        status, code = refused(s3.get_object, Bucket="vault", Key="small")
        assert (status, code) == (500, "InternalError")
        got = s3.get_object(Bucket="vault", Key="large")["Body"]
        read = b""
        try:
            for piece in got.iter_chunks(1000):
                read += piece
            raise AssertionError("it came whole")
        except Exception as e:
            assert not isinstance(e, AssertionError), e
        assert len(read) < 4 * MIB and content(4 * MIB).startswith(read)
        said = g.stop()
    assert "altered or damaged" in said, said


# ------------------------------------------------------------ other programs


@test_on_each_store
def rclone_syncs_and_checks(w):
    w.new_vault()
    for name, size in [("a", 0), ("b c/ü+%", 3), ("deep/er/file", 70_000), ("large", 30 * MIB)]:
        w.write(f"tree/{name}", content(size, size))
    w.write("tree/odd/with space & more", "x")
    with Gateway(w) as g:
        w.write("rclone.conf", "[g]\ntype = s3\nprovider = Other\nenv_auth = true\n" f"endpoint = {g.url}\n")

        def rclone(*args, code=0):
            # A folder has no place for the MD5 that rclone keeps with what it sends in parts.
            where = ["--s3-disable-checksum"] if w.store == "folder" else []
            return g.run("rclone", "--config", "rclone.conf", "--s3-upload-cutoff", "10M", "--retries", "1",
                         "--low-level-retries", "2", *where, *args, code=code)

        rclone("sync", "tree", "g:vault/copy")
        rclone("check", "tree", "g:vault/copy")
        rclone("check", "--download", "tree", "g:vault/copy")
        assert w.kluis("ls", "copy").out == "a\nb c/\ndeep/\nlarge\nodd/\n"
        # Nothing is sent twice: times are kept.
        assert "0 differences found" in g.run("bash", "-c", "rclone --config rclone.conf check tree g:vault/copy 2>&1")
        said = g.run("bash", "-c", "rclone --config rclone.conf sync -v -n tree g:vault/copy 2>&1")
        assert "There was nothing to transfer" in said, said
        # No hash is taken for that of the content.
        sums = rclone("hashsum", "md5", "g:vault/copy")
        for line in sums.splitlines():
            digest, name = line.split("  ", 1)
            if digest.strip():
                assert digest == hashlib.md5(w.read(f"tree/{name}")).hexdigest(), line
        (w.path("tree") / "a").unlink()
        w.write("tree/deep/er/file", "changed")
        rclone("sync", "tree", "g:vault/copy")
        rclone("copy", "g:vault/copy", "back")
        same = lambda name: {k: v for k, (v, _) in w.tree(name).items()}
        assert same("back") == same("tree")
        rclone("moveto", "g:vault/copy/large", "g:vault/moved")
        rclone("purge", "g:vault/copy")
        assert w.kluis("ls", "-r").out == "moved\n"
    nothing_readable(w, "deep", "with space")


@test
def recipes_of_the_guide_run(w):
    """Every block of the guide's section, in the order that it has there."""
    w.new_vault()
    section = GUIDE.read_text().split("\n## Any language", 1)[1].split("\n## ")[0]
    blocks = re.findall(r"^```(python|sh|sql)\n(.*?)^```", section, re.M | re.S)
    ran = []
    with Gateway(w) as g:
        # What `INSTALL httpfs` does.
        g.python("import duckdb_extensions; duckdb_extensions.import_extension('httpfs')")
        for kind, text in blocks:
            if "kluis serve" in text:
                continue
            if kind == "python":
                g.python(text)
            elif kind == "sh":
                g.run("bash", "-euc", text)
            else:
                continue
            ran.append(text)
    assert len(ran) >= 6, f"{len(ran)} of {len(blocks)}"
    nothing_readable(w)


DELTA = """
import pyarrow as pa, sys
from deltalake import DeltaTable, write_deltalake
table, options = "s3://vault/tables/events", {"AWS_ALLOW_HTTP": "true", "conditional_put": "etag"}
who, *rest = sys.argv[1:]
if who == "reader":
    rows = DeltaTable(table, storage_options=options)
    assert rows.version() == 20, rows.version()
    rows = rows.to_pyarrow_table().to_pylist()
    for who in rest:
        assert sorted(r["n"] for r in rows if r["who"] == who) == list(range(100)), who
else:
    for n in range(int(rest[0])):
        rows = pa.table({"who": [who] * 10, "n": list(range(n * 10, n * 10 + 10))})
        write_deltalake(table, rows, mode="append", storage_options=options)
"""


@test_on_each_store
def two_processes_append_to_one_delta_table_and_none_is_lost(w):
    w.new_vault()
    with Gateway(w) as g:
        g.python(DELTA, "nobody", "1")
        with concurrent.futures.ThreadPoolExecutor() as pool:
            both = [pool.submit(g.python, DELTA, who, "10") for who in ("anna", "bert")]
            for one in both:
                one.result()
        g.python(DELTA, "reader", "anna", "bert")
    nothing_readable(w, "anna", "_delta_log", "events")


@test
def lance_writes_and_finds(w):
    import lance
    import numpy as np
    import pyarrow as pa
    w.new_vault()
    with Gateway(w) as g:
        options = {"aws_endpoint": g.url, "aws_region": "auto", "allow_http": "true",
                   "aws_access_key_id": g.access_key, "aws_secret_access_key": g.secret,
                   "virtual_hosted_style_request": "false"}
        rng = np.random.default_rng(1)
        vectors = rng.normal(size=(4000, 32)).astype("float32")

        def rows(start, end):
            flat = pa.array(vectors[start:end].ravel())
            return pa.table({"id": list(range(start, end)), "text": [f"findable text {n}" for n in range(start, end)],
                             "vector": pa.FixedSizeListArray.from_arrays(flat, 32)})

        uri = "s3://vault/lance/items"
        lance.write_dataset(rows(0, 3000), uri, storage_options=options)
        lance.write_dataset(rows(3000, 4000), uri, mode="append", storage_options=options)
        items = lance.dataset(uri, storage_options=options)
        assert items.count_rows() == 4000 and len(items.versions()) == 2
        near = items.to_table(nearest={"column": "vector", "q": vectors[3333], "k": 5}).to_pylist()
        expected = np.argsort(((vectors - vectors[3333]) ** 2).sum(axis=1))[:5]
        assert [r["id"] for r in near] == list(expected) and near[0]["id"] == 3333
        picked = items.take([3999, 0, 1234], columns=["id", "text"]).to_pylist()
        assert [r["text"] for r in picked] == [f"findable text {n}" for n in (3999, 0, 1234)]
        assert lance.dataset(uri, version=1, storage_options=options).count_rows() == 3000
    nothing_readable(w, "findable text", "_versions", "items")


@test
def duckdb_reads_and_writes(w):
    w.new_vault()
    with Gateway(w) as g:
        import duckdb
        import duckdb_extensions
        duckdb_extensions.import_extension("httpfs")
        db = duckdb.connect()
        db.execute("LOAD httpfs")
        host = g.url.removeprefix("http://")
        db.execute(f"CREATE SECRET (TYPE s3, KEY_ID '{g.access_key}', SECRET '{g.secret}', ENDPOINT '{host}', "
                   "URL_STYLE 'path', USE_SSL false, REGION 'auto')")
        db.execute("COPY (SELECT range AS n, 'findable row ' || range AS row FROM range(500000)) "
                   "TO 's3://vault/sales/part-1.parquet' (ROW_GROUP_SIZE 20000)")
        db.execute("COPY (SELECT range AS n, 'findable row ' || range AS row FROM range(500000, 600000)) "
                   "TO 's3://vault/sales/part-2.parquet'")
        assert db.execute("SELECT count(*), sum(n) FROM 's3://vault/sales/*.parquet'").fetchone() == (
            600000, sum(range(600000)))
        assert db.execute("SELECT row FROM 's3://vault/sales/part-*.parquet' WHERE n = 543210").fetchone() == (
            "findable row 543210",)
        assert [r[0] for r in db.execute("SELECT file FROM glob('s3://vault/sales/*')").fetchall()] == [
            "s3://vault/sales/part-1.parquet", "s3://vault/sales/part-2.parquet"]
        db.execute("COPY (SELECT n, n % 3 AS third FROM 's3://vault/sales/*.parquet' WHERE n < 30) "
                   "TO 's3://vault/thirds' (FORMAT parquet, PARTITION_BY third)")
        assert db.execute("SELECT third, count(*) FROM read_parquet('s3://vault/thirds/*/*.parquet', "
                          "hive_partitioning = true) GROUP BY third ORDER BY third").fetchall() == [
            (0, 10), (1, 10), (2, 10)]
    nothing_readable(w, "findable row", "sales", "PAR1")


@test
def arrow_reads_and_writes(w):
    import pyarrow as pa
    import pyarrow.parquet as pq
    from pyarrow import fs
    w.new_vault()
    with Gateway(w) as g:
        s3 = fs.S3FileSystem(endpoint_override=g.url, access_key=g.access_key, secret_key=g.secret,
                             region="auto", allow_bucket_creation=False)
        table = pa.table({"n": list(range(200_000)), "text": [f"findable {n}" for n in range(200_000)]})
        pq.write_table(table, "vault/t/one.parquet", filesystem=s3)
        assert pq.read_table("vault/t/one.parquet", filesystem=s3, columns=["n"]).num_rows == 200_000
        s3.create_dir("vault/t/empty")
        names = [f.path for f in s3.get_file_info(fs.FileSelector("vault/t", recursive=True)) if f.is_file]
        assert names == ["vault/t/one.parquet"]
        with s3.open_output_stream("vault/t/large") as out:
            for n in range(12):
                out.write(content(2 * MIB, n))
        with s3.open_input_file("vault/t/large") as file:
            assert file.size() == 24 * MIB
            assert file.read_at(100, 5 * MIB) == b"".join(content(2 * MIB, n) for n in range(12))[5 * MIB:5 * MIB + 100]
        s3.move("vault/t/large", "vault/t/moved")
        s3.delete_dir("vault/t")
        assert s3.get_file_info("vault/t/moved").type == fs.FileType.NotFound
    assert w.kluis("ls").out == ""


if __name__ == "__main__":
    sys.exit(main())
