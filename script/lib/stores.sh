# shellcheck shell=bash
# Private instances of Postgres and Redis: on unix sockets only, so that the system's own are never
# touched, and several can run side by side. Sourced after say.sh and tools.sh, never run.
#
#   stores_use server             names the instance; its data lives in .local/server
#   stores_use test/1 throw-away  the same, fast instead of durable
#   stores_start                  starts both, or finds them running; exports DATABASE_URL, REDIS_URL
#   stores_stop                   stops exactly these two
#   stores_wipe                   deletes their data
#   stores_start_for_this_run     all of it for one run of a script

# Nothing a person has exported for another database may leak into this one.
unset PGDATA PGDATABASE PGHOST PGHOSTADDR PGOPTIONS PGPASSWORD PGPORT PGSERVICE PGSSLMODE PGUSER

STORES_ROOT=$(pwd -P)

# Whoever runs Postgres must get at its folder; what is private is made so, folder by folder.
umask 022

# A unix socket's path has about 104 characters at most, and a project can live deep: sockets live in
# /tmp, under a name that is the same from every terminal.
hash_of() { printf '%s' "$*" | cksum | cut -d ' ' -f 1; }

stores_use() {
  STORES_LOCAL=$STORES_ROOT/.local/$1
  STORES_THROW_AWAY=${2:-}
  STORES_SOCKETS=/tmp/dealix-$(hash_of "$(id -u) $STORES_LOCAL")
  STORES_REDIS=$STORES_LOCAL/redis
  STORES_POSTGRES=$STORES_LOCAL/postgres
  mkdir -p "$STORES_REDIS"
  chmod 700 "$STORES_REDIS"
  if [ "$(id -u)" -eq 0 ]; then
    choose_postgres_user
    # Below a private home folder that user reaches nothing, whatever the rights further down.
    chmod 711 "$STORES_ROOT/.local" "${STORES_LOCAL%/*}" "$STORES_LOCAL"
    if ! as_postgres test -x "$STORES_LOCAL"; then
      STORES_POSTGRES=/var/lib/dealix-$(hash_of "$STORES_ROOT")/$1/postgres
    fi
  fi
  export DATABASE_URL="postgres:///dealix?host=$STORES_SOCKETS&user=dealix"
  export REDIS_URL="redis+unix://$STORES_SOCKETS/redis.sock"
}

# Postgres refuses to run as root. It runs as whoever owns the data already, else as `postgres`.
choose_postgres_user() {
  local owner
  owner=$(stat -c '%u %g' "$STORES_POSTGRES" 2>/dev/null || echo '0 0')
  if [ "$owner" = '0 0' ]; then
    owner="$(id -u postgres 2>/dev/null) $(id -g postgres 2>/dev/null)" ||
      die "Postgres does not run as root, and there is no other user for it: useradd --system postgres"
  fi
  POSTGRES_UID=${owner% *} POSTGRES_GID=${owner#* }
}

as_postgres() {
  if [ "$(id -u)" -eq 0 ]; then
    (cd / && setpriv --reuid="$POSTGRES_UID" --regid="$POSTGRES_GID" --clear-groups -- "$@")
  else
    "$@"
  fi
}

give_to_postgres() {
  if [ "$(id -u)" -eq 0 ]; then
    chown "$POSTGRES_UID:$POSTGRES_GID" "$1"
  fi
  chmod 700 "$1"
}

# After a crash a pid file may name nobody, or a stranger: only the command line tells.
postgres_pid() {
  local pid
  pid=$(head -n 1 "$STORES_POSTGRES/postmaster.pid" 2>/dev/null) || return 1
  case $(command_of "$pid") in
    *" $STORES_POSTGRES "*) printf '%s\n' "$pid" ;;
    *) return 1 ;;
  esac
}

redis_pid() {
  local pid
  pid=$(cat "$STORES_REDIS/redis.pid" 2>/dev/null) || return 1
  case $(command_of "$pid") in
    *redis-server*"$STORES_SOCKETS"*) printf '%s\n' "$pid" ;;
    *) return 1 ;;
  esac
}

stores_start() {
  make_socket_folder
  start_postgres
  start_redis
}

# Anybody may write to /tmp: what is there already must be a folder of ours, and no link.
make_socket_folder() {
  local ours
  if ! mkdir -m 700 "$STORES_SOCKETS" 2>/dev/null; then
    ours=$(find "$STORES_SOCKETS" -prune -type d \( -user "$(id -u)" -o -user "${POSTGRES_UID:-$(id -u)}" \))
    [ -n "$ours" ] || die "$STORES_SOCKETS belongs to somebody else"
  fi
  give_to_postgres "$STORES_SOCKETS"
}

start_postgres() {
  local options="-c listen_addresses= -p 5432 -k $STORES_SOCKETS"
  make_cluster
  if ! postgres_pid >/dev/null; then
    rm -f "$STORES_POSTGRES/postmaster.pid" "$STORES_SOCKETS"/.s.PGSQL.*
    if [ -n "$STORES_THROW_AWAY" ]; then
      options="$options -c max_connections=200 -c fsync=off -c synchronous_commit=off -c full_page_writes=off"
    fi
    pg_ctl -w -t 120 -l "$STORES_POSTGRES/server.log" -o "$options" start || {
      tail -n 20 "$STORES_POSTGRES/server.log" >&2
      die "Postgres did not start; its log is $STORES_POSTGRES/server.log"
    }
  fi
  psql_as_superuser <<'SQL'
select 'create role dealix login createdb' where not exists (select from pg_roles where rolname = 'dealix') \gexec
select 'create database dealix owner dealix' where not exists (select from pg_database where datname = 'dealix') \gexec
SQL
}

# Made beside its place and moved there when it is whole, so that an interrupted one is never used.
make_cluster() {
  local sync='' major
  if [ ! -e "$STORES_POSTGRES" ]; then
    rm -rf "$STORES_POSTGRES.new"
    mkdir -p "$STORES_POSTGRES.new"
    give_to_postgres "$STORES_POSTGRES.new"
    [ -z "$STORES_THROW_AWAY" ] || sync=--no-sync
    LC_ALL=C as_postgres "$PG_BIN/initdb" -D "$STORES_POSTGRES.new" -U postgres -A trust -E UTF8 --no-locale \
      --no-instructions ${sync:+"$sync"} >"$STORES_LOCAL/initdb.log" 2>&1 || {
      tail -n 20 "$STORES_LOCAL/initdb.log" >&2
      die "initdb failed; its log is $STORES_LOCAL/initdb.log"
    }
    mv "$STORES_POSTGRES.new" "$STORES_POSTGRES"
  fi
  # A newer Postgres, installed since, cannot read the files of an older one.
  major=$(cat "$STORES_POSTGRES/PG_VERSION")
  PG_BIN=$(find_postgres "$major") ||
    die "$STORES_POSTGRES was made by PostgreSQL $major, which is gone: install it, or delete that folder"
}

start_redis() {
  if ! redis_pid >/dev/null; then
    rm -f "$STORES_REDIS/redis.pid"
    "$REDIS_BIN/redis-server" --port 0 --unixsocket "$STORES_SOCKETS/redis.sock" --unixsocketperm 700 \
      --dir "$STORES_REDIS" --save '' --appendonly yes --appendfsync always --maxmemory-policy noeviction \
      --daemonize yes --pidfile "$STORES_REDIS/redis.pid" --logfile "$STORES_REDIS/redis.log" >/dev/null
  fi
  # It answers LOADING while it reads its file.
  for _ in $(seq 300); do
    if [ "$("$REDIS_BIN/redis-cli" -s "$STORES_SOCKETS/redis.sock" ping 2>/dev/null)" = PONG ]; then
      return
    fi
    sleep 0.1
  done
  tail -n 20 "$STORES_REDIS/redis.log" >&2
  die "Redis did not start; its log is $STORES_REDIS/redis.log"
}

# Postgres reads INT as "end the sessions and stop", QUIT as "stop at once".
stores_stop() {
  local pid
  if pid=$(redis_pid); then
    stop_process "$pid" TERM 10
  fi
  if pid=$(postgres_pid); then
    stop_process "$pid" "$([ -n "$STORES_THROW_AWAY" ] && echo QUIT || echo INT)" 30
  fi
  rm -rf "${STORES_SOCKETS:?}"
}

stores_wipe() {
  rm -rf "${STORES_LOCAL:?}" "${STORES_POSTGRES%/postgres}"
}

# An instance for the script that runs, gone when it ends.
stores_start_for_this_run() {
  local folder
  # Sweeps what scripts that were killed have left: the folders are named after their processes.
  for folder in "$STORES_ROOT"/.local/test/*/; do
    folder=${folder%/}
    if [ "${folder##*/}" = $$ ] || { [ -d "$folder" ] && ! is_alive "${folder##*/}"; }; then
      stores_use "test/${folder##*/}" throw-away
      stores_stop
      stores_wipe
    fi
  done
  stores_use "test/$$" throw-away
  trap 'stores_stop; stores_wipe' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  stores_start
}

# Everything is redirected: a Postgres that holds our pipe would keep a CI job waiting for ever.
pg_ctl() { LC_ALL=C as_postgres "$PG_BIN/pg_ctl" -D "$STORES_POSTGRES" "$@" </dev/null >/dev/null 2>&1; }

psql_as_superuser() {
  "$PG_BIN/psql" -X -q -v ON_ERROR_STOP=1 -h "$STORES_SOCKETS" -p 5432 -U postgres -d postgres
}

# Asks a process to end, waits as many seconds, then insists.
stop_process() {
  local pid=$1 signal=$2 patience=$3
  kill -s "$signal" "$pid" 2>/dev/null || return 0
  for _ in $(seq $((patience * 10))); do
    is_alive "$pid" || return 0
    sleep 0.1
  done
  note "process $pid did not stop within $patience s: killed"
  kill -s KILL "$pid" 2>/dev/null || true
}
