# shellcheck shell=bash
# A Docker engine with a one-node swarm and a busybox image: the one that answers, or else a private one in the run folder.
# An engine that was there is left as it was found; a private one is stopped and its data removed.

ensure_engine() {
  engine wait 0 || start_private_engine
  ensure_base_image
  engine swarm || fail "the engine at $(engine_address) has no swarm that can be used"
}

engine() { "$PYTHON" -m ops.tryout.ground --ledger "$RUN/ledger" "$@"; }

engine_address() { printf '%s' "${DOCKER_HOST:-unix:///var/run/docker.sock}"; }

# The engine answers everybody but us: go on as the same user with the socket's group added. $@ is this script's own call.
rejoin_with_docker_group() {
  local socket=/var/run/docker.sock group
  [ -z "${DOCKER_HOST:-}" ] && [ -S "$socket" ] && [ ! -w "$socket" ] || return 0
  group=$(stat -L -c %g "$socket")
  if [ -n "${TAGSHIP_REJOINED:-}" ] || ! may_be_root; then
    fail "the Docker engine at $socket does not let you in: join its group (usermod -aG docker \$USER) or run this as root"
  fi
  exec sudo -n -E -- env TAGSHIP_REJOINED=1 HOME="$HOME" PATH="$PATH" \
    setpriv --reuid "$(id -u)" --regid "$(id -g)" --groups "$(id -G | tr ' ' ','),$group" -- "$@"
}

start_private_engine() {
  [ -z "${DOCKER_HOST:-}" ] || say "DOCKER_HOST=$DOCKER_HOST does not answer"
  may_be_root || fail "no Docker engine answers at $(engine_address), and this user may not start one:" \
    "start Docker, set DOCKER_HOST, or run this as root or with passwordless sudo"
  local had_dockerd
  had_dockerd=$(command -v dockerd || true)
  need dockerd docker.io
  need iptables iptables
  need ip iproute2
  # Installing the package starts the engine where there is a service manager: then it is the machine's own.
  if [ -z "$had_dockerd" ] && [ -z "${DOCKER_HOST:-}" ] && other_dockerd >/dev/null && engine wait 20; then return 0; fi
  local other
  if other=$(other_dockerd); then
    fail "a Docker engine runs here (process $other) but does not answer at $(engine_address):" \
      "set DOCKER_HOST to where it listens, or mend or stop it (two engines would share one firewall)"
  fi
  launch_dockerd
}

launch_dockerd() {
  local home=$RUN/engine
  say "no Docker engine answers: starting a private one in $home"
  as_root mkdir -m 711 "$home"
  note_network >"$RUN/network-before"
  echo '{}' >"$RUN/daemon.json" # the machine's own daemon.json speaks of another engine
  as_root setsid dockerd --host "unix://$RUN/docker.sock" --group "$(id -g)" --config-file "$RUN/daemon.json" \
    --data-root "$home/data" --exec-root "$home/exec" --pidfile "$home/pid" --shutdown-timeout 5 \
    --containerd-namespace "tagship-ops-$$" --containerd-plugins-namespace "tagship-ops-$$-plugins" \
    </dev/null >"$RUN/dockerd.log" 2>&1 &
  local launcher=$!
  export DOCKER_HOST=unix://$RUN/docker.sock
  unset DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_CONTEXT
  engine wait 60 --while "$launcher" && return 0
  tail -n 8 "$RUN/dockerd.log" >&2
  fail "the private Docker engine did not start (above is the end of its log)"
}

# An engine that shares our network, and so our firewall; prints its pid.
other_dockerd() {
  local pid
  for pid in $(pidof dockerd); do
    if [ "$(as_root readlink "/proc/$pid/ns/net")" = "$(readlink /proc/self/ns/net)" ]; then
      printf '%s' "$pid"
      return 0
    fi
  done
  return 1
}

# busybox:latest as the engine has it, as a registry gives it, or made from Debian's static busybox.
ensure_base_image() {
  engine base-image && return 0
  local busybox
  busybox=$(static_busybox) || fail "busybox:latest is not on the engine, cannot be pulled, and Debian's busybox-static cannot be had"
  engine base-image --from "$busybox" || fail "could not make busybox:latest from $busybox"
}

static_busybox() {
  local found
  found=$(command -v busybox) && ! ldd "$found" >/dev/null 2>&1 && printf '%s' "$found" && return 0
  command -v apt-get >/dev/null || return 1
  # Unpacked only: installing it would replace the machine's own busybox.
  mkdir -p "$RUN/busybox" && cd "$RUN/busybox" || return 1
  { download busybox-static || { as_root apt-get update -qq && download busybox-static; }; } >&2 || return 1
  dpkg-deb -x busybox-static_*.deb . >&2 || return 1
  find "$PWD" -path '*bin/busybox' -type f
}

stop_private_engine() {
  [ -d "$1/engine" ] || return 0
  local pid
  pid=$(as_root cat "$1/engine/pid" 2>/dev/null) || pid=
  if [ -n "$pid" ] && [[ " $(engine_processes "$1") " == *" $pid "* ]]; then
    kill_as_root -TERM "$pid"
    wait_until_gone "$pid"
  fi
  kill_engine_processes "$1" || return 1
  unmount_below "$1/engine"
  restore_network "$1/network-before"
}

# Pids of everything that runs for the private engine of run folder $1: its daemons name the folder, its shims the namespace.
engine_processes() {
  as_root grep -laF -e "$1/engine/" -e "tagship-ops-${1##*/}" /proc/[0-9]*/cmdline 2>/dev/null | cut -d/ -f3 | tr '\n' ' '
}

kill_engine_processes() {
  local pid left
  for pid in $(engine_processes "$1"); do
    # A container outlives its shim: its first process is the shim's child.
    # shellcheck disable=SC2046
    kill_as_root -KILL $(cat "/proc/$pid/task/$pid/children" 2>/dev/null) "$pid"
    wait_until_gone "$pid"
  done
  left=$(engine_processes "$1")
  for pid in $left; do
    [ ! -d "/proc/$pid" ] || { say "process $pid of the private engine in $1 does not end" && return 1; }
  done
}

# The shell's own kill: the program of that name is in a package that small systems lack.
# shellcheck disable=SC2016
kill_as_root() { as_root sh -c 'kill "$@" 2>/dev/null || true' sh "$@"; }

wait_until_gone() {
  local turn
  for ((turn = 0; turn < 150; turn++)); do
    [ -d "/proc/$1" ] || return 0
    sleep 0.1
  done
}

unmount_below() {
  local point
  cut -d' ' -f5 /proc/self/mountinfo | grep -F "$1/" | sort -r | while read -r point; do
    as_root umount --lazy "$point" || true
  done
}

# What an engine adds to the machine's network and leaves there when it stops.
note_network() {
  ip -o link show | cut -d' ' -f2 | tr -d ':'
  as_root iptables-save | grep -E '^:(DOCKER|FORWARD)' || true
  printf 'ip_forward %s\n' "$(cat /proc/sys/net/ipv4/ip_forward)"
}

restore_network() {
  [ -f "$1" ] || return 0
  local link
  for link in docker0 docker_gwbridge; do
    grep -qx "$link" "$1" || as_root ip link delete "$link" 2>/dev/null || true
  done
  grep -q '^:DOCKER' "$1" || remove_docker_rules "$1"
  sed -n 's/^ip_forward //p' "$1" | as_root tee /proc/sys/net/ipv4/ip_forward >/dev/null || true
}

remove_docker_rules() {
  local forward=DROP
  grep -q '^:FORWARD DROP' "$1" || forward=ACCEPT
  as_root iptables-save | sed -e '/DOCKER/d' -e '/docker0/d' -e '/docker_gwbridge/d' -e "s/^:FORWARD [A-Z]*/:FORWARD $forward/" |
    as_root iptables-restore || say "the private engine's firewall rules could not be removed"
}
