"""A gigabyte of files through the real command, each copy killed half-way and
run again: into a vault and back, on a local folder and, where KLUIS_TEST_S3_URL
is set, on S3. Contents and times of modification have to come back, the store
must not hold a name or a line of it in the clear, and the second reader has to
read the folder too.

    KLUIS_BIN=… KLUIS_PYTHON=… gigabyte.py [MIB]
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = os.environ["KLUIS_BIN"]
PYTHON = os.environ["KLUIS_PYTHON"]
READER = Path(__file__).parent.parent / "interop" / "kluis_reader.py"
MIB = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
CANARY = b"in the clear this line would be found; "
NAME_CANARY = "findable-name"

passed = failed = 0


def check(what, holds):
    global passed, failed
    print(("ok      " if holds else "FAILED  ") + what, flush=True)
    passed, failed = passed + bool(holds), failed + (not holds)


def make_tree(root):
    """Thousands of files: empty ones, chunk borders, long, odd and foreign names."""
    rng = random.Random(20261121)
    awkward = ["leer zeichen", "ünï/çødé", "日本語/файл", "%2e%2e", "a\\b", "~tilde~", "-rf", "#1", "'quote\"",
               "n" * 200, "deep/" * 12 + "end", "emoji-🦀", "e\u0301", ".hidden", "trailing.", "CON", "bidi-\u202etxt"]
    sizes = [0, 1, 16383, 16384, 16385, 65536, 1 << 20, (1 << 20) + 1, 3 * 16384 + 17]
    files = [(f"{NAME_CANARY}/awkward/{name}", rng.choice(sizes)) for name in awkward]
    files += [(f"{NAME_CANARY}/sizes/{size}", size) for size in sizes]
    files += [(f"{NAME_CANARY}/dir-{i % 37}/file-{i}", int(rng.lognormvariate(8.3, 1.5))) for i in range(4000)]
    rest = (MIB << 20) - sum(size for _, size in files)
    files += [(f"{NAME_CANARY}/large/{i}", max(rest // 5 + i, 0)) for i in range(5)]
    for name, size in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        block = CANARY + rng.randbytes(997)
        path.write_bytes((block * (size // len(block) + 1))[:size])
        moment = rng.randrange(-10**9, 2 * 10**9) * 10**9 + rng.randrange(10**9)
        os.utime(path, ns=(moment, moment))


def tree(root):
    return {p.relative_to(root): p for p in root.rglob("*") if p.is_file()}


def same(a, b, nanoseconds=True):
    one, other = tree(a), tree(b)
    if one.keys() != other.keys():
        return False
    def times(p): return p.stat().st_mtime_ns if nanoseconds else 0
    return all(times(p) == times(other[n]) and p.read_bytes() == other[n].read_bytes() for n, p in one.items())


def run(*args, **kw):
    return subprocess.run([BIN, *map(str, args)], capture_output=True, **kw)


def size_of(folder):
    total = 0
    for at, _, files in os.walk(folder):
        for name in files:
            # The command renames while we look.
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(at, name)).st_size
    return total


def killed(grows, *args):
    """Starts the copy and kills it when about half of it is there."""
    child = subprocess.Popen([BIN, *map(str, args)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while child.poll() is None and grows() < (MIB << 20) // 2:
        time.sleep(0.02)
    half = child.poll() is None
    child.send_signal(signal.SIGKILL)
    child.wait()
    return half


def journey(name, address, stored, work, source):
    made = run("init", address)
    check(f"{name}: init", made.returncode == 0)
    vault = ["--vault", made.stdout.decode().strip()]
    check(f"{name}: an upload is killed half-way", killed(stored, "-q", *vault, "cp", "-r", source, ":"))
    again = run(*vault, "cp", "-r", source, ":")
    check(f"{name}: run again, it goes on: {again.stderr.decode().strip().splitlines()[-1:]}", again.returncode == 0)
    back = work / f"back-{name}"
    check(f"{name}: a download is killed half-way", killed(lambda: size_of(back), "-q", *vault, "cp", "-r", ":", back))
    again = run(*vault, "cp", "-r", ":", back)
    check(f"{name}: run again, it goes on: {again.stderr.decode().strip().splitlines()[-1:]}", again.returncode == 0)
    leftovers = [p for n, p in tree(back).items() if not (source / n).exists()]
    for path in leftovers:
        check(f"{name}: what the killed copy left is a hidden part: {path.name}", ".kluis-" in path.name)
        path.unlink()
    check(f"{name}: contents and times are the same", same(source, back))
    checked = run("-q", *vault, "check")
    check(f"{name}: check finds nothing", checked.returncode == 0)
    subprocess.run(["rm", "-rf", back], check=True)


def in_the_clear(folder):
    needles = [CANARY[:30], NAME_CANARY.encode(), "日本語".encode()]
    for path in folder.rglob("*"):
        if any(n in os.fsencode(path.relative_to(folder)) for n in needles):
            return True
        if path.is_file():
            data = path.read_bytes()
            if any(n in data for n in needles):
                return True
    return False


def main():
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as work:
        work = Path(work)
        os.environ.update(KLUIS_PASSWORD="correct horse battery staple", XDG_STATE_HOME=str(work / "state"))
        source = work / "source"
        make_tree(source)
        print(f"{len(tree(source))} files, {size_of(source) >> 20} MiB", flush=True)

        folder = work / "vault"
        journey("folder", folder, lambda: size_of(folder), work, source)
        check("folder: no name and no content in the clear", not in_the_clear(folder))
        (work / "password").write_text(os.environ["KLUIS_PASSWORD"])
        extracted = work / "extracted"
        reader = [PYTHON, str(READER), str(folder), "--password-file", str(work / "password")]
        done = subprocess.run([*reader, "extract", str(extracted)], capture_output=True)
        check(f"the second reader reads all of it {done.stderr.decode()[-200:]}", done.returncode == 0 and same(source, extracted))
        subprocess.run(["rm", "-rf", folder, extracted], check=True)

        if url := os.environ.get("KLUIS_TEST_S3_URL"):
            buckets = Path(os.environ.get("KLUIS_TEST_S3_FOLDER", "/nonexistent"))
            prefix = f"gigabyte-{os.getpid()}"
            start = time.monotonic()
            def half(): return size_of(buckets) if buckets.exists() else ((time.monotonic() - start > 4) * (MIB << 20))
            journey("s3", f"{url}/{prefix}", half, work, source)
            if buckets.exists():
                check("s3: no name and no content in the clear", not in_the_clear(buckets))
    print(f"{passed} passed, {failed} failed")
    sys.exit(failed > 0)


main()
