"""The report in a real browser, without a window: it is drawn, light and dark, complains of nothing and can be heard.

    apt-get install -y --no-install-recommends chromium

Not among what scripts/install-test-parts installs: it is large, and on some systems a package that only fetches a snap.
"""

import base64
import io
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib import image
from numpy.typing import NDArray

from edge import detector as detectors
from tests.conftest import DEMO
from trainer.dataset import read_layout
from trainer.report import report_of, write_report

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(BROWSER is None, reason="a report in a browser: no chromium is installed")


class Browser:
    """A browser without a window and without a network, with a profile of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *arguments: str) -> tuple[str, list[str]]:
        """Run it to its end; return its output, and what the console said."""
        assert BROWSER is not None
        command = [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={self._folder / 'profile'}"),
            *("--hide-scrollbars", "--enable-logging=stderr", "--virtual-time-budget=5000", *arguments),
        ]
        environment = {**os.environ, "HOME": str(self._folder)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    def picture(self, page: Path, *, width: int, height: int, dark: bool = False) -> NDArray[np.float32]:
        """Return what is drawn, (height, width, 3), 0 to 1; a console that is not silent is a failure."""
        target = self._folder / "page.png"
        scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
        _, said = self(f"--screenshot={target}", f"--window-size={width},{height}", scheme, page.as_uri())
        assert said == []
        drawn: NDArray[np.float32] = image.imread(target)
        return drawn[..., :3]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Browser:
    return Browser(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    content = report_of([detectors.read(DEMO / "detector")], read_layout([DEMO / "clips" / "pump"]))
    write_report(path, content)
    return path


def test_the_page_is_drawn_from_top_to_bottom_and_the_console_is_silent(browser: Browser, page: Path) -> None:
    drawn = browser.picture(page, width=1200, height=4000)

    ink = (np.abs(drawn - drawn[0, 0]).max(-1) > 0.2).mean(1)
    assert drawn[0, 0].min() > 0.9
    assert all(ink[top : top + 1000].max() > 0.05 for top in (0, 1000, 2000))


def test_the_page_is_dark_where_a_person_likes_it_dark(browser: Browser, page: Path) -> None:
    drawn = browser.picture(page, width=1200, height=1500, dark=True)

    assert drawn[0, 0].max() < 0.2
    assert (drawn.min(-1) > 0.7).mean() > 0.002  # light text


def test_nothing_sticks_out_on_a_narrow_screen(browser: Browser, page: Path, tmp_path: Path) -> None:
    """A window without a screen is at least 500 wide, so a phone is a frame in it."""
    phone = tmp_path / "phone.html"
    text = page.read_text(encoding="utf-8")
    measured = re.sub("<meta http-equiv[^>]*>", "", text).replace(
        "</body>", "<script>parent.document.title = document.documentElement.scrollWidth</script></body>"
    )
    (tmp_path / "measured.html").write_text(measured, encoding="utf-8")
    phone.write_text('<iframe src="measured.html" style="width:400px;height:800px;border:0"></iframe>')

    dom, _ = browser("--dump-dom", "--allow-file-access-from-files", phone.as_uri())

    assert re.findall("<title>([^<]*)</title>", dom) == ["400"]


def test_the_policy_of_the_page_forbids_what_it_does_not_hold(browser: Browser, page: Path, tmp_path: Path) -> None:
    """And so the silence of the console means something."""
    text = page.read_text(encoding="utf-8")
    assert text.count("<main>") == 1
    for i, load in enumerate(('<img src="https://example.org/x.png">', "<script>document.title = 1</script>")):
        bad = tmp_path / f"{i}.html"
        bad.write_text(text.replace("<main>", f"<main>{load}"), encoding="utf-8")

        _, said = browser("--dump-dom", bad.as_uri())

        assert any("Content Security Policy" in line for line in said)


def test_the_browser_can_play_the_players(browser: Browser, page: Path, tmp_path: Path) -> None:
    text = page.read_text(encoding="utf-8")
    uris = re.findall(r'<audio [^>]*src="([^"]+)"', text)
    heard = tmp_path / "heard.html"
    heard.write_text(f'<audio src="{uris[0]}" onloadedmetadata="document.title = this.duration"></audio>')

    dom, _ = browser("--dump-dom", heard.as_uri())

    seconds = soundfile.info(io.BytesIO(base64.b64decode(uris[0].partition(",")[2]))).duration
    assert float(re.findall("<title>([^<]*)</title>", dom)[0]) == pytest.approx(seconds, abs=0.01)
