"""A page in headless Chromium, where there is one: pictures of it, and facts that only a browser knows."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --enable-logging=stderr --v=0"
).split()

_MEASURE = """
function luminance(c) {
  const [r, g, b] = c.map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function colour(text) { return text.match(/[0-9.]+/g).map(Number); }
function ground(window_, element) {
  for (let one = element; one; one = one.parentElement) {
    const c = colour(window_.getComputedStyle(one).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
}
function texts(window_, document_) {
  const walker = document_.createTreeWalker(document_.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("svg, details > div")) continue;
    const range = document_.createRange();
    range.selectNodeContents(walker.currentNode);
    const [a, b] = [luminance(colour(window_.getComputedStyle(element).color)), luminance(ground(window_, element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(window_.getComputedStyle(element).fontSize);
    for (const box of range.getClientRects())  // one for every line
      if (box.width)
        found.push({text: walker.currentNode.data, contrast, size, box: [box.left, box.top, box.right, box.bottom]});
  }
  return found;
}
window.onload = () => {
  const frame = document.querySelector("iframe"), d = frame.contentDocument, w = frame.contentWindow;
  const facts = {
    scroll_width: d.documentElement.scrollWidth, inner_width: w.innerWidth, height: d.documentElement.scrollHeight,
    pictures: [...d.images].map(one => one.naturalWidth),
    places: [...d.images].map(one => one.getBoundingClientRect()).map(b => [b.left, b.top, b.right, b.bottom]),
    texts: texts(w, d),
    requests: w.performance.getEntriesByType("resource").map(one => one.name),
    paper: w.getComputedStyle(d.body).backgroundColor,
  };
  const result = document.createElement("pre");
  result.id = "facts";
  result.textContent = JSON.stringify(facts);
  document.body.replaceChildren(result);
};
"""


def run(profile: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Chromium, once, with a profile folder of its own."""
    assert CHROMIUM
    command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def look(folder: Path, page: str, width: int, *, dark: bool = False) -> dict[str, Any]:
    """Lay a page out at a width in CSS pixels and measure it: `console` lists what the browser complained about."""
    wrapper = folder / f"wrapper-{width}-{dark}.html"
    frame = f'<iframe srcdoc="{html.escape(page)}" style="border:0;width:{width}px;height:3000px"></iframe>'
    wrapper.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{frame}<script>{_MEASURE}</script>", "utf-8")
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = run(folder / f"profile-{width}-{dark}", *scheme, "--window-size=1600,3200", "--dump-dom", wrapper.as_uri())
    found = re.search(r'<pre id="facts">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {**json.loads(html.unescape(found[1])), "console": console}


def check_layout(seen: dict[str, Any], width: int, dark: bool) -> None:
    """Nothing sideways, nothing over anything else, nothing missing, nothing asked for, and all of it readable."""
    assert seen["scroll_width"] <= seen["inner_width"] == width
    assert not seen["console"] and not seen["requests"] and min(seen["pictures"]) > 0
    assert (sum(map(int, re.findall(r"\d+", seen["paper"])[:3])) < 300) == dark
    assert min(one["contrast"] for one in seen["texts"]) >= 4.5  # WCAG 2.2, 1.4.3
    assert min(one["size"] for one in seen["texts"]) >= 12
    boxes = [(one["text"], *one["box"]) for one in seen["texts"]]
    for number, (text, left, top, right, bottom) in enumerate(boxes):
        assert left >= 0 and right <= width + 0.5, text
        for other, left2, top2, right2, bottom2 in boxes[number + 1 :]:
            across, down = min(right, right2) - max(left, left2), min(bottom, bottom2) - max(top, top2)
            assert across <= 1 or down <= 2, (text, other)


def print_pages(folder: Path, page: str) -> int:
    """Print a page into folder/page.pdf and count its sheets."""
    (folder / "page.html").write_text(page, "utf-8")
    pdf = folder / "page.pdf"
    run(folder / "profile-pdf", "--no-pdf-header-footer", f"--print-to-pdf={pdf}", (folder / "page.html").as_uri())
    return len(re.findall(rb"/Type\s*/Page[^s]", pdf.read_bytes()))
