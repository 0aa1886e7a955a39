# shellcheck shell=bash
# What these scripts tell people: one line per fact on stdout, one line why they stopped on stderr.

say() { printf '%s\n' "$*"; }

fail() {
  printf '%s: %s\n' "ops/${0##*/}" "$*" >&2
  exit 1
}
