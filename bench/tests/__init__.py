"""Tests of what is pure in the driver: `python3 -m unittest` in bench/."""
