# Sourced by setup.sh: find a Python, make the environment, fill it from the locks.
# shellcheck shell=bash

PYTHON=  # the interpreter the environment is made with
PIP=()   # how packages get in, when not through uv

# A candidate counts only when it really runs: shims of version managers may point nowhere.
runs() { # runs PYTHON [MODULE]   prints the version and the real path
  "$1" -I -c '
import importlib, sys
if sys.version_info < tuple(int(part) for part in sys.argv[1].split(".")):
    sys.exit(1)
importlib.import_module(sys.argv[2])
print(sys.version.split()[0], sys.executable)' "$OLDEST" "${2:-sys}" 2>/dev/null </dev/null
}

has_uv() { command -v uv >/dev/null 2>&1 && uv --version >/dev/null 2>&1; }

candidates() {
  local name place
  if [ -n "${CLAWD_PYTHON:-}" ]; then printf '%s\n' "$CLAWD_PYTHON"; return; fi
  for name in python3.13 python3.12 python3.11 python3.14 python3 python; do
    type -ap "$name" 2>/dev/null || true
    for place in /opt/homebrew/bin /usr/local/bin /usr/bin "${HOME:-/nonexistent}/.local/bin"; do
      if [ -x "$place/$name" ]; then printf '%s\n' "$place/$name"; fi
    done
  done
}

# The first that can make a whole environment; else the first that is new enough.
find_python() {
  local candidate
  PYTHON=
  while IFS= read -r candidate; do
    case $candidate in "$VENV"/*) continue ;; esac
    runs "$candidate" >/dev/null || continue
    [ -n "$PYTHON" ] || PYTHON=$candidate
    if runs "$candidate" venv >/dev/null && runs "$candidate" ensurepip >/dev/null; then
      PYTHON=$candidate
      return 0
    fi
  done <<<"$(candidates)"
  [ -n "$PYTHON" ]
}

choose_python() {
  if ! find_python && is_debian_root; then
    apt_install python3 python3-venv && find_python || true
  fi
  if [ -z "$PYTHON" ] && has_uv; then
    PYTHON=$(python_of_uv)
    if [ -z "$PYTHON" ]; then
      note "No Python $OLDEST or newer here; uv fetches one."
      quietly uv python install 3.13 || true
      PYTHON=$(python_of_uv)
    fi
  fi
  [ -n "$PYTHON" ] || die "clawd needs Python $OLDEST or newer, and none was found." \
    "Install one ($(python_package)), or install uv, and run this again. CLAWD_PYTHON=/path/to/python names one."
  STEP_FOUND=$(runs "$PYTHON")
}

python_of_uv() {
  local found
  found=$(uv python find --no-python-downloads --no-project --system ">=$OLDEST" 2>>"$LOG") || return 0
  if runs "$found" >/dev/null; then printf '%s\n' "$found"; fi
}

make_environment() {
  if environment_works; then
    STEP_FOUND="kept"
    return 0
  fi
  rm -rf "$VENV"
  if has_uv && quietly uv venv --python "$PYTHON" "$VENV"; then
    STEP_FOUND="made with uv"
  elif runs "$PYTHON" ensurepip >/dev/null && quietly "$PYTHON" -I -m venv "$VENV"; then
    STEP_FOUND="made with venv"
  else
    environment_without_ensurepip
  fi
}

environment_works() {
  [ -n "$(runs "$VENV/bin/python")" ] || return 1
  has_uv || "$VENV/bin/python" -I -m pip --version >>"$LOG" 2>&1
}

# Debian splits venv and ensurepip off. As root we add them; otherwise pip comes from elsewhere.
environment_without_ensurepip() {
  local package
  package=$(venv_package)
  rm -rf "$VENV"
  if is_debian_root && { apt_install "$package" || apt_install python3-venv; } &&
    quietly "$PYTHON" -I -m venv "$VENV"; then
    STEP_FOUND="made with venv"
    return 0
  fi
  rm -rf "$VENV"
  if quietly "$PYTHON" -I -m venv --without-pip "$VENV" && borrow_pip; then
    STEP_FOUND="made without ensurepip"
    return 0
  fi
  rm -rf "$VENV"
  die "This Python ($PYTHON) cannot make environments." \
    "An admin has to install one package: $package. Or install uv for this account; then run this again."
}

# A pip that lives outside the environment can fill it: the base Python's own, another Python's
# bundled wheel, or one on PATH.
borrow_pip() {
  local candidate wheel
  for candidate in "$PYTHON" $(type -ap python3 2>/dev/null); do
    if "$candidate" -I -m pip --python "$VENV/bin/python" --version >>"$LOG" 2>&1; then
      PIP=("$candidate" -I -m pip --python "$VENV/bin/python")
      return 0
    fi
  done
  for wheel in /usr/share/python-wheels/pip-*.whl /usr/lib/python3*/ensurepip/_bundled/pip-*.whl \
    /usr/local/lib/python3*/ensurepip/_bundled/pip-*.whl; do
    if [ -f "$wheel" ] && "$VENV/bin/python" "$wheel/pip" --version >>"$LOG" 2>&1; then
      PIP=("$VENV/bin/python" "$wheel/pip")
      return 0
    fi
  done
  return 1
}

# Only wheels: nothing is compiled and no package runs code while it is installed.
install_packages() {
  local lock deps
  for lock in $(locks_of "$1"); do
    deps=
    [ "$lock" != requirements-claude.txt ] || deps=--no-deps # only the CLI inside is wanted
    install_lock "$ROOT/$lock" $deps || lock_failed "$lock"
  done
  quietly "$VENV/bin/python" -I "$ROOT/scripts/lib/link.py" || {
    tail_of_log
    die "The clawd command could not be written to $VENV/bin." "Remove $VENV and run this again."
  }
  STEP_FOUND="$(count_pins "$1") from the lock"
}

count_pins() {
  # shellcheck disable=SC2046
  (cd "$ROOT" && cat $(locks_of "$1") | grep -c '==')
}

install_lock() { # install_lock FILE [--no-deps]
  if has_uv; then
    quietly uv pip install --python "$VENV/bin/python" --require-hashes --only-binary :all: \
      "${@:2}" -r "$1" && return 0
    note "uv could not install the packages; trying pip."
    pip_ready || return 1
  fi
  if [ ${#PIP[@]} -eq 0 ]; then PIP=("$VENV/bin/python" -I -m pip); fi
  quietly "${PIP[@]}" install --require-hashes --only-binary :all: \
    --progress-bar off --no-warn-script-location "${@:2}" -r "$1"
}

# An environment made by uv has no pip of its own.
pip_ready() {
  "$VENV/bin/python" -I -m pip --version >>"$LOG" 2>&1 ||
    "$VENV/bin/python" -I -m ensurepip >>"$LOG" 2>&1 || borrow_pip
}

lock_failed() {
  local remedy
  end_step
  say ""
  say "The end of $LOG:"
  tail_of_log
  if grep -qiE 'No space left' "$LOG"; then
    remedy="The disk is full: free about 1 GB under $ROOT and run this again."
  elif grep -qiE 'resolution|resolve host|Connection|timed out|unreachable|certificate' "$LOG"; then
    remedy="The package index was not reached. Check the network, or name your mirror or proxy in pip's own settings (PIP_INDEX_URL, HTTPS_PROXY, PIP_CERT), and run this again."
  elif ls /lib/ld-musl-* >/dev/null 2>&1; then
    remedy="This system uses musl; the Postgres clawd brings along needs glibc or macOS."
  else
    remedy="The whole log is in $LOG; run this again once its cause is gone."
  fi
  die "The packages of $1 could not be installed." "$remedy"
}
