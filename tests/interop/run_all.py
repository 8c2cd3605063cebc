"""Every test of the second reader; see `run`."""

import sys

import harness
import test_command
import test_reader
import test_vectors

for module in (test_reader, test_vectors, test_command):
    module.run()
sys.exit(harness.close())
