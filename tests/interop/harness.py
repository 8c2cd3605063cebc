"""Counts what passed. A test is a named block: `with test("name"): …`."""

import contextlib
import sys
import traceback

passed, failed = 0, []


@contextlib.contextmanager
def test(name):
    global passed
    try:
        yield
    except Exception:
        failed.append(name)
        print(f"FAILED {name}", file=sys.stderr)
        traceback.print_exc(limit=-4)
    else:
        passed += 1


@contextlib.contextmanager
def refuses(error):
    """The block must raise exactly this class."""
    try:
        yield
    except Exception as e:
        if type(e) is error:
            return
        raise AssertionError(f"expected {error.__name__}, got {type(e).__name__}: {e}") from e
    raise AssertionError(f"expected {error.__name__}, got success")


def pattern(n):
    """Byte i = (7·i + 3) mod 256."""
    period = bytes((7 * i + 3) % 256 for i in range(256))
    return (period * (n // 256 + 1))[:n]


def close():
    """Prints the last line, and gives the exit code."""
    for name in failed:
        print(f"failed: {name}")
    print(f"{passed} passed, {len(failed)} failed")
    return 0 if passed and not failed else 1
