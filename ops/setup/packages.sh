# shellcheck shell=bash
# Debian packages, and the right to install them: root, or sudo that asks nothing.

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin # where Debian keeps dockerd and iptables, and not every user's PATH goes

# The most that one step over the network may take, in seconds: by themselves, programs wait for slow servers without end.
NETWORK_S=300

# bounded COMMAND…: ends it after that time, and says so.
bounded() {
  local status=0
  timeout --kill-after=20 $NETWORK_S "$@" || status=$?
  case $status in
    124 | 137) printf '%s\n' "stopped after $NETWORK_S s: $*" >&2 ;;
  esac
  return $status
}

may_be_root() { [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n -- "$@"; fi
}

may_install() { command -v apt-get >/dev/null && may_be_root; }

# install PACKAGE…: true when all of them are installed now. The package lists are fetched only when a first try fails.
install() {
  local log
  log=$(mktemp)
  say "installing with apt: $*"
  if apt_install "$@" >"$log" 2>&1 || { apt_update && apt_install "$@"; } >>"$log" 2>&1; then
    rm -f "$log"
    return 0
  fi
  tail -n 5 "$log" >&2
  rm -f "$log"
  return 1
}

apt_install() {
  as_root timeout --kill-after=20 $NETWORK_S \
    env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" </dev/null
}

apt_update() { as_root timeout --kill-after=20 $NETWORK_S apt-get update -qq; }

# download PACKAGE: its .deb is in this folder, not installed. (Apt's own account cannot write here: without it, no warning.)
download() { bounded apt-get download -qq -o APT::Sandbox::User=root "$1"; }

# unpack PACKAGE FOLDER: the files of the package are in FOLDER, not installed: nothing of it is started. They come into
# a folder of its own that is renamed when it is complete, so that no half of it is taken for the whole.
unpack() (
  rm -rf "$2.part" && mkdir -p "$2.part" && cd "$2.part" || return 1
  { download "$1" || { apt_update && download "$1"; }; } >&2 || return 1
  dpkg-deb -x "$1"_*.deb . >&2 && rm -- *.deb || return 1
  rm -rf "$2" && mv "$2.part" "$2"
)

# need COMMAND PACKAGE…: COMMAND exists now, or this ends with what to do.
need() {
  local command=$1
  shift
  command -v "$command" >/dev/null && return 0
  may_install || fail "'$command' is missing: install it (Debian: apt-get install $*), or run this as root or with passwordless sudo"
  install "$@" || fail "apt could not install $*: install it by hand and start again"
  hash -r
}
