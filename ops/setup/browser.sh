# shellcheck shell=bash
# Debian's Chromium, which the browser tests click in, with a font to read by; and axe-core, which judges the pages: an npm
# package that a second run finds in .cache.

ensure_browser() {
  command -v google-chrome >/dev/null || need chromium chromium fonts-dejavu-core
  need npm npm
  "$PYTHON" -m tests.browser.axe >/dev/null || fail "axe-core could not be fetched: check the network and npm's registry setting"
}
