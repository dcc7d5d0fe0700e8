"""Tests. One thread for the products of numpy: two workers on two processors would each have two, which wait for each
other, and hops need none of them. Read when numpy is loaded, so before `conftest.py` is."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
