"""A world for each test: a home, an environment, and the command to run in it."""

import hashlib
import hmac
import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.parse
import urllib.request
from pathlib import Path
from xml.etree import ElementTree

KLUIS = os.environ["KLUIS_BIN"]
PASSWORD = "correct horse battery staple"
TESTS = []


def test(function):
    """Runs on a local folder."""
    TESTS.append((function.__name__, lambda: World("folder"), function))
    return function


def test_on_each_store(function):
    """Runs on a local folder, and on S3 if there is one; `./test` insists that there is."""
    TESTS.append((f"{function.__name__} (folder)", lambda: World("folder"), function))
    if os.environ.get("KLUIS_TEST_S3_URL") or os.environ.get("KLUIS_TEST_SERVERS_REQUIRED"):
        TESTS.append((f"{function.__name__} (s3)", lambda: World("s3"), function))
    return function


class Result:
    def __init__(self, world, code, out, err):
        self.world, self.code, self.out_bytes = world, code, out
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")

    def json(self):
        return [json.loads(line) for line in self.out.splitlines()]

    def lines(self):
        return self.out.splitlines()


class World:
    def __init__(self, store):
        self.dir = Path(tempfile.mkdtemp(prefix="kluis-cli-"))
        self.store = store
        self.home = self.dir / "home"
        self.home.mkdir()
        (self.dir / "password").write_text(PASSWORD + "\n")
        self.vaults = 0
        self.known = {}
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "KLUIS_PASSWORD_FILE": str(self.dir / "password"),
            **{k: v for k, v in os.environ.items() if k.startswith("AWS_") or k.endswith("_PROXY")},
        }

    def close(self):
        subprocess.run(["chmod", "-R", "u+rwx", self.dir], check=False)
        shutil.rmtree(self.dir)

    # -- the command

    def ends(self, *args):
        """Runs it and insists on nothing."""
        done = subprocess.run([KLUIS, *map(os.fspath, args)], env=self.env, cwd=self.dir, timeout=300, start_new_session=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        return Result(self, done.returncode, done.stdout, done.stderr)

    def kluis(self, *args, code=0, stdin=subprocess.DEVNULL, cwd=None, env=None, **kwargs):
        """Runs it and insists on the exit code."""
        if isinstance(stdin, bytes):
            kwargs["input"] = stdin
        else:
            kwargs["stdin"] = stdin
        environment = {k: v for k, v in {**self.env, **(env or {})}.items() if v is not None}
        # In a session of its own there is no terminal to ask on.
        done = subprocess.run([KLUIS, *map(os.fspath, args)], env=environment, cwd=cwd or self.dir, timeout=300,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True, **kwargs)
        result = Result(self, done.returncode, done.stdout, done.stderr)
        if result.code != code:
            raise AssertionError(f"kluis {' '.join(map(str, args))}: exit {result.code}, not {code}\n"
                                 f"stdout: {result.out}\nstderr: {result.err}")
        if code not in (0, 2):
            last = result.err.splitlines()[-1]
            assert last.startswith("kluis: ") and "; hint: " in last, f"the last line is {last!r}"
        return result

    def start(self, *args):
        return subprocess.Popen([KLUIS, *map(os.fspath, args)], env=self.env, cwd=self.dir, start_new_session=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def new_vault(self, *args):
        """Makes a vault and makes it the vault of `:`."""
        self.vaults += 1
        if self.store == "folder":
            url = str(self.dir / f"vault{self.vaults}")
        else:
            url = f"{os.environ['KLUIS_TEST_S3_URL']}/cli-{os.getpid()}-{time.time_ns()}"
        self.address = self.kluis("init", url, *args).out.strip()
        self.url = self.env["KLUIS_VAULT"] = url
        return self.address

    # -- files

    def path(self, name):
        return self.dir / name

    def write(self, name, content=b"", mtime_ns=1_600_000_000_123_456_789):
        path = self.dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.utime(path, ns=(mtime_ns, mtime_ns))
        return path

    def read(self, name):
        return (self.dir / name).read_bytes()

    def tree(self, name):
        """Content and time of every file below, hidden ones too."""
        root = self.dir / name
        return {str(p.relative_to(root)): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
                for p in root.rglob("*") if p.is_file() and not p.is_symlink()}

    # -- the store, as the provider sees it

    def stored(self):
        """Key and content of everything in the store of the vault."""
        if self.store == "folder":
            root = Path(self.url)
            return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        return S3().everything(self.url)

    def count_stored(self):
        if self.store == "folder":
            return sum(1 for p in (Path(self.url) / "o").rglob("*") if p.is_file() and "#" not in p.name)
        return len(S3().keys(self.url + "/o"))

    # -- golden text

    def normal(self, text):
        """What differs from run to run, by name."""
        for known in sorted(self.known, key=len, reverse=True):
            text = text.replace(known, self.known[known])
        text = text.replace(str(self.dir), "$DIR").replace(self.url, "$VAULT") if hasattr(self, "url") else \
            text.replace(str(self.dir), "$DIR")
        text = re.sub(r"\b[0-9a-f]{32}\b", "ID", text)
        text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text)
        return re.sub(r'"seconds":[0-9.e-]+', '"seconds":S', text)


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, w, *args, env=None):
        environment = {k: v for k, v in {**w.env, "TERM": "xterm", **(env or {})}.items() if v is not None}
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(w.dir)
            os.execve(KLUIS, [KLUIS, *map(str, args)], environment)
        self.seen = ""

    def expect(self, text):
        deadline = time.monotonic() + 60
        while text not in self.seen:
            if not select.select([self.fd], [], [], max(0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"{text!r} never came; seen: {self.seen!r}")
            try:
                self.seen += os.read(self.fd, 4096).decode(errors="replace")
            except OSError:
                raise AssertionError(f"{text!r} never came; seen: {self.seen!r}") from None
        before, self.seen = self.seen.split(text, 1)
        return before

    def say(self, text):
        os.write(self.fd, text.encode())

    def end(self, code):
        while True:
            try:
                more = os.read(self.fd, 4096)
            except OSError:
                break
            if not more:
                break
            self.seen += more.decode(errors="replace")
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        assert status == code, f"exit {status}, not {code}; seen: {self.seen!r}"
        return self.seen


def golden(result, out="", err=""):
    """The whole of stdout and stderr, line by line."""
    for name, actual, expected in (("stdout", result.out, out), ("stderr", result.err, err)):
        actual = result.world.normal(actual)
        expected = "".join(line.strip("\n") + "\n" for line in expected.strip("\n").split("\n")) if expected else ""
        assert actual == expected, f"{name} is\n{actual}\nand should be\n{expected}"


class S3:
    """Lists and reads a bucket with nothing of ours in between."""

    def __init__(self):
        self.endpoint = os.environ.get("AWS_ENDPOINT") or os.environ["AWS_ENDPOINT_URL"]
        self.host = urllib.parse.urlparse(self.endpoint).netloc
        self.region = os.environ.get("AWS_REGION", "us-east-1")

    def get(self, path, query=None):
        return self.request("GET", path, query)

    def request(self, method, path, query=None, body=b""):
        pairs = [(urllib.parse.quote(k, safe=""), urllib.parse.quote(v, safe="")) for k, v in (query or {}).items()]
        canonical_query = "&".join(f"{k}={v}" for k, v in sorted(pairs))
        path = urllib.parse.quote(path)
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        scope = f"{now[:8]}/{self.region}/s3/aws4_request"
        content = hashlib.sha256(body).hexdigest()
        headers = {"host": self.host, "x-amz-content-sha256": content, "x-amz-date": now}
        signed = ";".join(headers)
        request = "\n".join([method, path, canonical_query, *(f"{k}:{v}" for k, v in headers.items()), "", signed, content])
        to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = ("AWS4" + os.environ["AWS_SECRET_ACCESS_KEY"]).encode()
        for part in (*scope.split("/"), to_sign):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        credential = f"{os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
        headers["Authorization"] = (f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, "
                                    f"Signature={key.hex()}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        url = f"{self.endpoint}{path}{'?' if canonical_query else ''}{canonical_query}"
        request = urllib.request.Request(url, data=body or None, headers=headers, method=method)
        with opener.open(request, timeout=60) as answer:
            return answer.read()

    def keys(self, url):
        bucket, prefix = url.removeprefix("s3://").split("/", 1)
        keys, token = [], None
        while True:
            query = {"list-type": "2", "prefix": prefix + "/"} | ({"continuation-token": token} if token else {})
            page = ElementTree.fromstring(self.get(f"/{bucket}", query))
            keys += [e.text for e in page.iter() if e.tag.endswith("}Key") or e.tag == "Key"]
            token = next((e.text for e in page.iter() if e.tag.endswith("NextContinuationToken")), None)
            if not token:
                return keys

    def set_policy(self, bucket, policy):
        self.request("PUT", f"/{bucket}", {"policy": ""}, json.dumps(policy).encode())

    def everything(self, url):
        bucket = url.removeprefix("s3://").split("/", 1)[0]
        return {key: self.get(f"/{bucket}/{key}") for key in self.keys(url)}


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    passed = failed = 0
    for name, make, function in TESTS:
        if pattern not in name:
            continue
        world = make()
        start = time.monotonic()
        try:
            function(world)
            passed += 1
            print(f"ok: {name} ({time.monotonic() - start:.1f} s)", flush=True)
        except Exception:
            failed += 1
            print(f"FAILED: {name}\n{traceback.format_exc()}", flush=True)
        finally:
            world.close()
    if not any("(s3)" in name for name, _, _ in TESTS):
        print("nothing ran on S3: KLUIS_TEST_S3_URL is not set")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0
