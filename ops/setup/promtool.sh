# shellcheck shell=bash
# promtool, which checks alert rules and what /metrics answers. It comes with Debian's prometheus, which is only unpacked:
# installing it would start a Prometheus of the machine's own.

ensure_promtool() {
  command -v promtool >/dev/null && return 0
  local place=$PWD/.cache/prometheus
  if [ ! -x "$place/usr/bin/promtool" ]; then
    command -v apt-get >/dev/null || fail "'promtool' is missing: install it (it comes with Prometheus)"
    say "fetching promtool, of Debian's prometheus, into .cache (once)"
    unpack prometheus "$place" || fail "Debian's prometheus cannot be had: install promtool by hand (it comes with Prometheus)"
  fi
  PATH=$PATH:$place/usr/bin
}
