"""The page of `curriculum report` in a real browser: from disk, offline, on a phone, in the dark, by keyboard, on paper."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_help import written_report

browsers = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser; pip install 'curriculum[dev]'")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed (Debian: apt-get install chromium)")
WATCH = """
window.shifts = 0;
new PerformanceObserver(list => { for (const entry of list.getEntries()) window.shifts += entry.value; })
  .observe({type: 'layout-shift', buffered: true});
"""
PHONE, DESK = 375, 1280
LAUNCH: dict[str, Any] = {  # root may not have a sandbox; a container's /dev/shm may be small
    "executable_path": BROWSER,
    "args": ["--no-sandbox", "--disable-dev-shm-usage"],
    "timeout": 300_000,
}


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written_report(tmp_path_factory.getbasetemp()) / "new" / "page.html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsers.sync_playwright() as playwright:
        opened = playwright.chromium.launch(**LAUNCH)
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any, page_file: Path) -> Iterator[Any]:
    """Return a function that opens the page in a window of a width and a colour scheme, and fails on any complaint."""
    contexts, complaints = [], []

    def opened(width: int = DESK, scheme: str = "light") -> Any:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        contexts.append(context)
        context.set_default_timeout(300_000)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: complaints.append(request.url) if not request.url.startswith("file:") else None)
        page.add_init_script(WATCH)
        page.goto(page_file.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_is_wider_than_the_window_and_nothing_moves(visit: Any, width: int) -> None:
    page = visit(width)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(300)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("window.shifts") == 0
    shown = page.locator("figure svg:visible")
    assert shown.count() == 6
    for picture in shown.all():
        box = picture.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] > 60


def test_letters_in_pictures_are_large_enough_on_a_phone(visit: Any) -> None:
    heights = (
        visit(PHONE)
        .locator("figure svg:visible text")
        .evaluate_all("texts => texts.map(text => text.getBoundingClientRect().height)")
    )
    assert len(heights) > 50 and min(heights) >= 9


def test_no_letters_of_a_picture_lie_outside_of_it(visit: Any) -> None:
    for width in (PHONE, DESK):
        outside = visit(width).evaluate("""
            [...document.querySelectorAll('figure svg')].filter(svg => svg.getBoundingClientRect().width).flatMap(svg => {
              const frame = svg.getBoundingClientRect();
              return [...svg.querySelectorAll('text')].filter(text => {
                const box = text.getBoundingClientRect();
                return box.left < frame.left - 1 || box.right > frame.right + 1;
              }).map(text => text.textContent);
            })
        """)
        assert outside == []


def test_a_dark_screen_gets_a_dark_page_and_light_letters(visit: Any) -> None:
    def brightness(scheme: str) -> tuple[float, float]:
        page = visit(scheme=scheme)
        found = page.evaluate("""
            [getComputedStyle(document.body).backgroundColor,
             getComputedStyle(document.querySelector('figure .wide svg [id*="xtick"] text')).fill]
        """)
        return tuple(sum(int(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]) / 765 for colour in found)  # type: ignore[return-value]

    (light_page, dark_ink), (dark_page, light_ink) = brightness("light"), brightness("dark")
    assert light_page > 0.9 and dark_ink < 0.2 and dark_page < 0.2 and light_ink > 0.8


def test_the_keyboard_reaches_the_verdict_at_once_and_what_is_folded(visit: Any) -> None:
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "verdict"
    trials = page.locator("summary", has_text="trials as a table")
    trials.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("Enter")
    assert page.locator("table", has_text="Trials in order").is_visible()


def test_a_link_to_a_run_opens_what_hides_it(visit: Any) -> None:
    page = visit()
    link = page.locator("table a").first
    target = page.locator(f"[id='{link.get_attribute('href')[1:]}']")
    assert not target.is_visible()
    link.click()
    target.wait_for(state="visible")


def test_a_listener_hears_every_picture_once_and_the_regions(visit: Any) -> None:
    page = visit()
    names = ["Gain in time_general over static, with intervals", "Schedules: what is played when", "Probe succession",
             "Probe flipped", "Every trial by mean loss and time general", "Parameter importance"]  # fmt: skip
    for name in names:
        assert page.get_by_role("img", name=name, exact=True).count() == 1
    assert page.get_by_role("main").count() == 1 and page.get_by_role("navigation", name="Sections").count() == 1
    assert page.get_by_role("heading", level=1).count() == 1


def test_it_prints(visit: Any, tmp_path: Path) -> None:
    page = visit(scheme="dark")
    page.pdf(path=str(tmp_path / "page.pdf"), format="A4")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF") and (tmp_path / "page.pdf").stat().st_size > 20_000
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden() and page.locator("figure svg:visible").count() == 6
