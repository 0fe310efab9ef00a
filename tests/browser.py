"""Whether the page tests have a real browser."""

import pytest

from scripts.browser import BINARY

needs_browser = pytest.mark.skipif(BINARY is None, reason="no Chromium here; `make test` installs it where it can")
