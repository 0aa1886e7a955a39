# shellcheck shell=bash
# One folder per run: who owns it, what it made. What a killed run left is removed by the next one.
#
# RUN/owner   pid and start time of the script that owns the folder (a reused pid has another start time)
# RUN/ledger  what was made on an engine or started as a process; written before it is made (ops/tryout/ledger.py)
# RUN/engine  the private Docker engine, if there is one (engine.sh)

# Short, because socket paths end at 107 bytes; on a real disk, because an engine stores its layers here.
RUN_ROOT=/var/tmp/tagship-ops-$(id -u)
RUN=

open_run() {
  mkdir -m 711 "$RUN_ROOT" 2>/dev/null || true # 711: PostgreSQL drops to another account and has to pass
  { [ -d "$RUN_ROOT" ] && [ ! -L "$RUN_ROOT" ] && [ -O "$RUN_ROOT" ]; } || fail "$RUN_ROOT is not a folder of yours: remove it"
  local folder
  for folder in "$RUN_ROOT"/*/; do
    [ -d "$folder" ] && clear_stale "${folder%/}"
  done
  RUN=$RUN_ROOT/$$
  mkdir -m 711 "$RUN_ROOT" 2>/dev/null || true # the end of another run may have taken it away
  mkdir -m 711 "$RUN"
  printf '%s %s\n' $$ "$(started_at $$)" >"$RUN/owner"
  : >"$RUN/ledger"
  trap close_run EXIT
}

close_run() {
  local status=$?
  trap - EXIT
  trap '' INT TERM HUP # what is being removed is removed to the end
  clear_run "$RUN" || status=1
  exit "$status"
}

clear_stale() {
  local pid started
  read -r pid started <"$1/owner" || pid=0
  [ "$(started_at "$pid")" = "${started:-none}" ] && return 0
  say "removing what a killed run left behind ($1)"
  clear_run "$1" || fail "could not remove all that a killed run left in $1"
}

clear_run() {
  if [ -d "$1/engine" ]; then
    "$PYTHON" -m ops.tryout.ledger --processes "$1/ledger" || return 1
    stop_private_engine "$1" || return 1
  elif [ -s "$1/ledger" ]; then
    "$PYTHON" -m ops.tryout.ledger "$1/ledger" || return 1
  fi
  as_owner_of "$1" rm -rf --one-file-system "$1"
  rmdir "$RUN_ROOT" 2>/dev/null || true
}

# Files of PostgreSQL and of the engine belong to others when we are not root.
as_owner_of() {
  local folder=$1
  shift
  if [ -d "$folder/engine" ]; then as_root "$@"; else "$@"; fi
}

# The moment process $1 started, in clock ticks since boot; empty when there is none (proc(5), field 22 of stat).
started_at() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  read -ra stat <<<"${stat##*) }"
  printf '%s' "${stat[19]}"
}

# supervise COMMAND…: runs it to its end and returns its status. A signal to this script reaches it at once as an interrupt, and
# this then ends with 130 unless the command took the interrupt for a good end. (A shell acts on signals only between commands,
# so the command runs in the background; with job control, because a background command would otherwise ignore interrupts.)
# A script killed outright interrupts the command too.
supervise() {
  local status=0
  INTERRUPTED=
  set -m
  setpriv --pdeathsig INT env --default-signal=INT "$@" </dev/null &
  CHILD=$!
  set +m
  trap 'INTERRUPTED=1; kill -INT "$CHILD" 2>/dev/null || true' INT TERM HUP
  wait "$CHILD" || status=$?
  while kill -0 "$CHILD" 2>/dev/null; do
    status=0
    wait "$CHILD" || status=$?
  done
  if [ -n "$INTERRUPTED" ]; then # the first answer may have been the signal's
    status=0
    wait "$CHILD" || status=$?
  fi
  trap 'exit 130' INT TERM HUP
  if [ -n "$INTERRUPTED" ] && [ $status != 0 ]; then exit 130; fi
  return $status
}
