#!/usr/bin/python3
"""short.py - twenty seconds of the soak, seed 1, as a test of the suite; `make soak SECONDS=1800` is the full measure."""
import os
import sys

sys.path[:0] = [os.path.dirname(os.path.abspath(__file__))]
import soak

sys.argv[1:] = ["--seconds", "20", "--seed", os.environ.get("TUTTI_TEST_SEED", "1")]
sys.exit(soak.main(soak.arguments()))
