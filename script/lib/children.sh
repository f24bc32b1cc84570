# shellcheck shell=bash
# Starts our own programs, waits until they answer, and ends them. Sourced after stores.sh, never run.

# Starts a program with its output in a file; its pid is in CHILD. It gets a process group of its
# own (`set -m`), so that Ctrl-C reaches the script alone and the script decides who stops first.
spawn() {
  local log=$1
  shift
  rm -f "$log"
  (umask 077 && : >"$log")
  set -m
  "$@" </dev/null >"$log" 2>&1 &
  CHILD=$!
  set +m
  disown "$CHILD"
}

# Waits until a condition holds while the child lives, at most 60 s; else shows the end of its log.
#   wait_for_child PID LOG command …
wait_for_child() {
  local pid=$1 log=$2
  shift 2
  for _ in $(seq 600); do
    if "$@" >/dev/null 2>&1; then
      return
    fi
    is_alive "$pid" || break
    sleep 0.1
  done
  tail -n 25 "$log" >&2
  if is_alive "$pid"; then
    die "it runs, but did not become ready within a minute; its log is $log"
  fi
  die "it ended before it was ready; its log is $log"
}

answers() { curl -fsS -m 2 -o /dev/null "$1"; }

# Prints the first free port from this one on.
free_port() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
    port=$((port + 1))
  done
  printf '%s\n' "$port"
}

# Prints where cargo puts its results.
target_folder() { cargo metadata --no-deps --format-version 1 | jq -r .target_directory; }
