# shellcheck shell=bash
# Debian's docker-registry, which tests start for themselves. Unpacked only where it is not installed: installing it would
# start a registry of the machine's own, for everybody and without a password.

ensure_registry() {
  command -v docker-registry >/dev/null && return 0
  local place=$PWD/.cache/docker-registry
  if [ ! -x "$place/usr/bin/docker-registry" ]; then
    command -v apt-get >/dev/null || fail "'docker-registry' is missing: install it (Debian: apt-get install docker-registry)"
    say "fetching Debian's docker-registry into .cache (once)"
    unpack docker-registry "$place" || fail "Debian's docker-registry cannot be had: install it by hand (apt-get install docker-registry)"
  fi
  PATH=$place/usr/bin:$PATH
}
