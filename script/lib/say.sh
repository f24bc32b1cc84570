# shellcheck shell=bash
# How the scripts speak to a person. Sourced, never run.

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
  BOLD=$(printf '\033[1m') DIM=$(printf '\033[2m') PLAIN=$(printf '\033[0m')
else
  BOLD='' DIM='' PLAIN=''
fi

headline() { printf '\n%s==> %s%s\n' "$BOLD" "$*" "$PLAIN"; }

note() { printf '%s    %s%s\n' "$DIM" "$*" "$PLAIN"; }

die() {
  printf '\n%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# Prints the comment at the top of the script that runs: it is the help text.
usage() { sed -n '2,/^[^#]/{s/^# \{0,1\}//p;}' "$0"; }
