# Sourced by scripts/run and scripts/test: one private environment in the checkout, made once.
# shellcheck shell=bash
#
#   set_up run|test|bench     afterwards "$VENV/bin/clawd" is there, or the script has ended with
#                             one sentence that says what is missing and who can put it right
#
# Bash 3.2 is enough (macOS). All words go to stderr: stdout belongs to the program that follows.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
VENV="$ROOT/.venv"
SETUP="$ROOT/.setup" # the lock, and the log of the last set-up
LOG="$SETUP/log"
OLDEST="3.11"
SYSTEM=$(uname -s)

# Settings of the operator's shell that would send packages elsewhere than into our environment.
unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_ROOT PIP_CONSTRAINT PIP_REQUIRE_VIRTUALENV \
  VIRTUAL_ENV UV_PROJECT_ENVIRONMENT UV_SYSTEM_PYTHON UV_CONSTRAINT
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 UV_LINK_MODE=copy
if [ ! -w "${HOME:-/nonexistent}" ]; then # what is usually kept at home stays in the checkout
  export PIP_CACHE_DIR="$SETUP/cache/pip" UV_CACHE_DIR="$SETUP/cache/uv"
  export UV_PYTHON_INSTALL_DIR="$SETUP/python"
fi

# shellcheck source=say.sh
. "$ROOT/scripts/lib/say.sh"
# shellcheck source=python.sh
. "$ROOT/scripts/lib/python.sh"
# shellcheck source=system.sh
. "$ROOT/scripts/lib/system.sh"

# The lock files of a profile, in the order they are installed.
locks_of() {
  case $1 in
    run) echo requirements.txt ;;
    test) echo requirements-test.txt requirements-claude.txt ;;
    bench) echo requirements-bench.txt ;;
  esac
}

# What the environment was made from: the locks, the Python and the place of the checkout.
# Also the proof that the environment's Python still starts. About 20 ms.
fingerprint() {
  # shellcheck disable=SC2046  # file names of ours, without spaces
  (cd "$ROOT" && "$VENV/bin/python" -I -S -c '
import hashlib, os, sys
digest = hashlib.sha256(repr((sys.version, os.getcwd())).encode())
for name in sys.argv[1:]:
    with open(name, "rb") as lock:
        digest.update(lock.read())
print(digest.hexdigest())' scripts/lib/link.py $(locks_of "$1") 2>/dev/null)
}

is_set_up() {
  local stamp made
  [ -x "$VENV/bin/clawd" ] && command -v git >/dev/null 2>&1 || return 1
  stamp=$(cat "$VENV/clawd-$1.stamp" 2>/dev/null) || return 1
  made=$(fingerprint "$1") || return 1
  [ -n "$made" ] && [ "$made" = "$stamp" ]
}

set_up() {
  is_set_up "$1" && return 0
  if ! mkdir -p "$SETUP" 2>/dev/null || ! [ -w "$SETUP" ] || ! [ -w "$ROOT" ]; then
    die "This account may not write to $ROOT." \
      "Run it as the owner of that folder, or clone the repository to a folder of your own."
  fi
  BEGAN=$SECONDS
  DEADLINE=$((SECONDS + ${CLAWD_SETUP_LIMIT_S:-180}))
  take_lock
  trap 'end_step; drop_lock' EXIT
  trap 'exit 130' INT TERM HUP
  if ! is_set_up "$1"; then # another starter may have done it while we waited
    : >"$LOG"
    say "Setting up clawd in $VENV (once)."
    step 1 "system packages" prepare_system
    step 2 "Python" choose_python
    step 3 "environment" make_environment
    step 4 "packages" install_packages "$1"
    fingerprint "$1" >"$VENV/clawd-$1.stamp"
    say "Ready after $((SECONDS - BEGAN)) s."
  fi
  drop_lock
  trap - EXIT INT TERM HUP
}

# One set-up at a time per checkout. The descriptor is closed before anything else is started, so
# that no daemon inherits the lock.
take_lock() {
  local told=
  if command -v flock >/dev/null 2>&1; then
    exec 9>"$SETUP/lock"
    until flock -n 9; do wait_for_lock; done
    return 0
  fi
  until mkdir "$SETUP/lock.d" 2>/dev/null; do
    local holder
    holder=$(cat "$SETUP/lock.d/pid" 2>/dev/null || true)
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then
      rm -rf "$SETUP/lock.d" # its holder is gone
    else
      wait_for_lock
    fi
  done
  echo $$ >"$SETUP/lock.d/pid"
}

wait_for_lock() {
  [ -n "$told" ] || say "Another set-up of this checkout is running; waiting for it."
  told=yes
  [ "$SECONDS" -lt "$DEADLINE" ] || die "Another set-up of this checkout did not end in time." \
    "Look who holds $SETUP/lock, end it, and run this again."
  sleep 1
}

drop_lock() {
  if [ "$(cat "$SETUP/lock.d/pid" 2>/dev/null)" = "$$" ]; then rm -rf "$SETUP/lock.d"; fi
  exec 9>&-
}
