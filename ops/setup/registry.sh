# shellcheck shell=bash
# Debian's docker-registry, which tests start for themselves. Unpacked only where it is not installed: installing it would
# start a registry of the machine's own, for everybody and without a password.

ensure_registry() {
  command -v docker-registry >/dev/null && return 0
  local place=$PWD/.cache/docker-registry
  if [ ! -x "$place/usr/bin/docker-registry" ]; then
    command -v apt-get >/dev/null || fail "'docker-registry' is missing: install it (Debian: apt-get install docker-registry)"
    say "fetching Debian's docker-registry into .cache (once)"
    fetch_registry "$place" || fail "Debian's docker-registry cannot be had: install it by hand (apt-get install docker-registry)"
  fi
  PATH=$place/usr/bin:$PATH
}

# In a folder of its own that is renamed when it is complete, so that no half of it is taken for the whole.
fetch_registry() (
  rm -rf "$1.part" && mkdir -p "$1.part" && cd "$1.part" || return 1
  { download docker-registry || { as_root apt-get update -qq && download docker-registry; }; } >&2 || return 1
  dpkg-deb -x docker-registry_*.deb . >&2 && rm -- *.deb || return 1
  rm -rf "$1" && mv "$1.part" "$1"
)
