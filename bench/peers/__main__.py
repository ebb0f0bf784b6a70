"""`python -m peers NAME`: the worker that holds the engine of that file here.

The loop is in loop.py. Engines that are Rust are in bench/rust-peers.
"""

import importlib
import sys

from .loop import own_stdout, serve

answers = own_stdout()
serve(importlib.import_module(f"{__package__}.{sys.argv[1]}").Engine, answers)
