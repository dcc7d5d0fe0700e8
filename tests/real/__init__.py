"""Tests against the real parts: each file says what it needs, and `scripts/install-test-parts` installs it."""
