# shellcheck shell=bash
# .venv: a Python of this checkout with exactly the locked packages and the project itself. A stamp makes the next run quick.

PYTHON=.venv/bin/python
STAMP=.venv/tagship-stamp

ensure_python() {
  local wanted
  wanted=$(sha256sum ops/locks/dev.txt pyproject.toml)
  venv_is_current "$wanted" && return 0
  exec 8<ops/locks/dev.txt
  flock 8 # two scripts at once: the second finds the work done
  venv_is_current "$wanted" || make_venv "$wanted"
  exec 8<&-
}

venv_is_current() { [ -x "$PYTHON" ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$1" ]; }

make_venv() {
  local interpreter
  if ! new_enough "$PYTHON"; then
    interpreter=$(find_python) || interpreter=$(install_python)
    ensure_venv_module "$interpreter"
    say "making .venv with $("$interpreter" -V)"
    rm -rf .venv
    "$interpreter" -m venv .venv || fail "$interpreter could not make a virtual environment in .venv"
  fi
  say "installing the locked packages into .venv (once; about a minute)"
  # --no-deps: the lock is complete, and pip 23 misreads the extras that one package asks of another.
  pip_install --no-deps --require-hashes -r ops/locks/dev.txt
  pip_install --no-deps --no-build-isolation --editable .
  printf '%s\n' "$1" >"$STAMP"
}

pip_install() {
  bounded "$PYTHON" -m pip install -qq --disable-pip-version-check --no-input "$@" </dev/null ||
    fail "pip could not install (above is why): check the network and the package index that pip is configured for"
}

# A version manager's stand-in may exist and still not run: ask the interpreter itself.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
  local candidate
  for candidate in python3.13 python3.12 python3.11 python3; do
    if new_enough "$candidate"; then
      command -v "$candidate"
      return 0
    fi
  done
  return 1
}

install_python() {
  if may_install && install python3 python3-venv >&2 && find_python; then return 0; fi
  fail "Python 3.11 or newer is needed and was not found: install it and start again"
}

# Debian splits ensurepip off into python3-venv.
ensure_venv_module() {
  local package
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return 0
  package=$("$1" -c 'import sys; print("python3.%d-venv" % sys.version_info[1])')
  may_install || fail "$1 lacks the venv module: apt-get install $package, or run this as root or with passwordless sudo"
  install "$package" || fail "apt could not install $package, which $1 needs to make .venv"
}
