# Sourced by setup.sh: numbered steps with seconds, output in a log, one sentence on failure.
# shellcheck shell=bash

STEPS=4
STEP_LINE=   # what the running step is called, empty between steps
STEP_FOUND=  # what the step adds to its line: "3.11.7 (/usr/bin/python3)"
RUNNING=     # the process group of the command under way

say() { printf '%s\n' "$*" >&2; }

die() { # die WHAT REMEDY
  end_step
  printf '\nclawd could not be set up. %s\n%s\n' "$1" "$2" >&2
  exit 1
}

# step NUMBER TITLE FUNCTION ARGUMENTS...   the function works and may set STEP_FOUND
step() {
  local from=$SECONDS
  STEP_LINE="  $1/$STEPS $2"
  STEP_FOUND=
  shift 2
  if [ -t 2 ]; then printf '%s ...' "$STEP_LINE" >&2; fi
  "$@"
  if [ -t 2 ]; then printf '\r\033[K' >&2; fi
  say "$STEP_LINE: ${STEP_FOUND:-done} ($((SECONDS - from)) s)"
  STEP_LINE=
}

# A step that is cut short leaves no half line and no process behind.
end_step() {
  if [ -n "$RUNNING" ]; then kill -TERM -- "-$RUNNING" 2>/dev/null || true; fi
  RUNNING=
  if [ -n "$STEP_LINE" ] && [ -t 2 ]; then printf '\n' >&2; fi
  STEP_LINE=
}

note() { # a line of its own between the steps
  if [ -n "$STEP_LINE" ] && [ -t 2 ]; then printf '\r\033[K' >&2; fi
  say "      $*"
}

# quietly COMMAND...   runs it with its output in the log, shows that it lives, keeps the deadline
quietly() {
  local from=$SECONDS rc=0 last=0 passed
  printf '\n$ %s\n' "$*" >>"$LOG"
  set -m # a process group of its own, so that all of it can be ended
  (cd "$ROOT" && exec "$@") >>"$LOG" 2>&1 </dev/null 9>&- & # no foreign folder's settings
  RUNNING=$!
  set +m
  while kill -0 "$RUNNING" 2>/dev/null; do
    if [ "$SECONDS" -ge "$DEADLINE" ]; then
      kill -TERM -- "-$RUNNING" 2>/dev/null || true
      die "It took longer than ${CLAWD_SETUP_LIMIT_S:-180} s, at: $*" \
        "Run it again: what was downloaded is kept. CLAWD_SETUP_LIMIT_S=900 gives it more time."
    fi
    passed=$((SECONDS - from))
    if [ -t 2 ]; then
      printf '\r\033[K%s ... %s s' "$STEP_LINE" "$passed" >&2
    elif [ "$passed" -ge $((last + 15)) ]; then
      last=$passed
      say "$STEP_LINE ... $passed s"
    fi
    sleep 0.2
  done
  wait "$RUNNING" || rc=$?
  RUNNING=
  return "$rc"
}

tail_of_log() { tail -n "${1:-12}" "$LOG" | sed 's/^/    | /' >&2; }
