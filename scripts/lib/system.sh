# Sourced by setup.sh: what has to come from the system, git and the agents' cage.
# shellcheck shell=bash

APT_FRESH= # set once the package lists were updated in this run

is_root() { [ "$(id -u)" -eq 0 ]; }
is_debian_root() { is_root && [ "$SYSTEM" = Linux ] && command -v apt-get >/dev/null 2>&1; }

venv_package() { echo "python$("$PYTHON" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"; }

python_package() {
  if [ "$SYSTEM" = Darwin ]; then echo "brew install python@3.13"; else echo "the package python3"; fi
}

# apt_install PACKAGE...   says so, and updates the lists only when the first try fails
apt_install() {
  note "Installing $* with apt-get."
  apt_get install -y --no-install-recommends "$@" && return 0
  [ -z "$APT_FRESH" ] || return 1
  APT_FRESH=yes
  note "The package lists are old or missing; updating them."
  apt_get update && apt_get install -y --no-install-recommends "$@"
}

apt_get() {
  quietly env DEBIAN_FRONTEND=noninteractive LC_ALL=C \
    apt-get -q -o DPkg::Lock::Timeout=60 -o Acquire::Retries=2 "$@"
}

prepare_system() {
  local wanted=()
  command -v git >/dev/null 2>&1 || wanted+=(git)
  if [ "$SYSTEM" = Linux ] && ! command -v bwrap >/dev/null 2>&1; then wanted+=(bubblewrap); fi
  STEP_FOUND="nothing missing"
  if [ ${#wanted[@]} -eq 0 ]; then return 0; fi
  if is_debian_root; then
    if apt_install "${wanted[@]}"; then
      STEP_FOUND="installed ${wanted[*]}"
    else
      tail_of_log 4
    fi
  fi
  command -v git >/dev/null 2>&1 || die "git is not installed." "$(git_remedy)"
  if [ "$SYSTEM" = Linux ] && ! command -v bwrap >/dev/null 2>&1; then
    STEP_FOUND="bubblewrap is missing"
    note "Real agents run in a cage that needs one package an admin must add: bubblewrap."
    note "The demo and everything else work without it."
  fi
}

git_remedy() {
  case $SYSTEM in
    Darwin) echo "Run: xcode-select --install. Then run this again." ;;
    *) echo "An admin has to install one package: git. Then run this again." ;;
  esac
}
