# shellcheck shell=bash
# Finds what the project needs on this machine and installs what is missing. Sourced, never run.

OLDEST_POSTGRES=15
OLDEST_REDIS=7

# Whether all these programs are in the folder: on Debian, PATH may lead to some and not to others.
holds() {
  local dir=$1 program
  shift
  for program; do
    [ -x "$dir/$program" ] || return 1
  done
}

# Prints the folder with the newest PostgreSQL that is new enough, or, when a major version is
# named, with that one. $PG_BIN has the first word.
find_postgres() {
  local exactly=$1 on_path best='' best_major=0 dir major
  on_path=$(command -v postgres || true)
  for dir in "${PG_BIN:-}" "${on_path%/*}" /usr/lib/postgresql/*/bin \
    /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
    holds "$dir" postgres initdb pg_ctl psql || continue
    major=$("$dir/postgres" --version | sed -E 's/^[^0-9]*([0-9]+).*$/\1/')
    [ "$major" -ge "$OLDEST_POSTGRES" ] || continue
    [ -z "$exactly" ] || [ "$major" = "$exactly" ] || continue
    if [ "$dir" = "${PG_BIN:-}" ]; then
      printf '%s\n' "$dir"
      return
    fi
    if [ "$major" -gt "$best_major" ]; then
      best=$dir best_major=$major
    fi
  done
  [ -n "$best" ] && printf '%s\n' "$best"
}

# Prints the folder with a Redis that is new enough.
find_redis() {
  local on_path dir major
  on_path=$(command -v redis-server || true)
  for dir in "${on_path%/*}" /usr/bin /opt/homebrew/opt/redis/bin /usr/local/opt/redis/bin; do
    holds "$dir" redis-server redis-cli || continue
    major=$("$dir/redis-server" --version | sed -E 's/^.* v=([0-9]+).*$/\1/')
    if [ "$major" -ge "$OLDEST_REDIS" ]; then
      printf '%s\n' "$dir"
      return
    fi
  done
  return 1
}

# Rust comes from rustup, which reads rust-toolchain.toml; a distribution's cargo is usually too old.
ensure_cargo() {
  local wanted have need
  if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
    PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  fi
  wanted=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
  command -v cargo >/dev/null ||
    die "cargo is missing. Get it with: curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  # Rust's versions all begin with 1.
  have=$(cargo --version | sed -E 's/^cargo 1\.([0-9]+).*$/\1/')
  need=$(printf '%s' "$wanted" | cut -d . -f 2)
  [ "$have" -ge "$need" ] ||
    die "this cargo is 1.$have, the project needs $wanted. Get rustup, which fetches it by itself: https://rustup.rs"
}

install_with_apt() {
  local command="apt-get install -y --no-install-recommends $*"
  if [ "$(id -u)" -eq 0 ]; then
    apt-get update -qq || true
    # shellcheck disable=SC2086 # A list of words.
    DEBIAN_FRONTEND=noninteractive $command
  elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    note "sudo may ask for your password."
    sudo apt-get update -qq || true
    # shellcheck disable=SC2086 # A list of words.
    sudo env DEBIAN_FRONTEND=noninteractive $command
  else
    false
  fi || die "this could not be installed from here; ask your administrator to run: $command"
}

install_with_brew() {
  brew install "$@" || die "Homebrew could not install: $*"
}

# The names of the packages that are missing, in the words of the package manager at hand.
missing_packages() {
  local manager=$1 packages=''
  find_postgres '' >/dev/null || packages="$packages $([ "$manager" = brew ] && echo postgresql@17 || echo postgresql)"
  find_redis >/dev/null || packages="$packages $([ "$manager" = brew ] && echo redis || echo redis-server)"
  command -v curl >/dev/null || packages="$packages curl ca-certificates"
  command -v jq >/dev/null || packages="$packages jq"
  command -v git >/dev/null || packages="$packages git"
  if [ "$manager" = apt ] && ! command -v cc >/dev/null; then
    packages="$packages gcc libc6-dev"
  fi
  printf '%s\n' "${packages# }"
}

# Everything the scripts need, found or installed. Sets PG_BIN and REDIS_BIN.
ensure_tools() {
  local manager='' packages
  ensure_cargo
  if command -v apt-get >/dev/null; then
    manager=apt
  elif command -v brew >/dev/null; then
    manager=brew
  fi
  packages=$(missing_packages "$manager")
  if [ -n "$packages" ]; then
    headline "Installing $packages"
    # shellcheck disable=SC2086 # A list of words.
    case $manager in
      apt) install_with_apt $packages ;;
      brew) install_with_brew $packages ;;
      *) die "please install: $packages (PostgreSQL $OLDEST_POSTGRES or newer, Redis $OLDEST_REDIS or newer)" ;;
    esac
  fi
  command -v cc >/dev/null || die "a C compiler is missing. On macOS: xcode-select --install"
  PG_BIN=$(find_postgres '') ||
    die "PostgreSQL here is older than $OLDEST_POSTGRES. Debian 12 and Ubuntu 24.04 have a newer one; or set PG_BIN to the folder of one."
  REDIS_BIN=$(find_redis) ||
    die "Redis here is older than $OLDEST_REDIS. Debian 12 and Ubuntu 24.04 have a newer one."
}

# Prints the command line of a process, or nothing when there is none.
command_of() {
  if [ -d /proc/self ]; then
    tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" || true
  else
    ps -p "$1" -o args= 2>/dev/null || true
  fi
}

# A process that has ended but was never collected has no command line any more.
is_alive() { [ -n "$(command_of "$1")" ]; }

# 32 random bytes in hexadecimal.
random_secret() { od -An -N32 -tx1 /dev/urandom | tr -d ' \n'; }
