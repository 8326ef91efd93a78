#!/usr/bin/env bash
# Builds everything and runs it: demo services, Envoy in front, bridge, Prometheus.
# Ctrl-C or SIGTERM stops it all. Everything a run writes, logs too, is in one
# temporary folder that goes with it; nothing else is left, no process either.
#
# REDIS_URL and DATABASE_URL are handed to the demo. Without REDIS_URL a Redis
# of our own is started where redis-server is found (PATH or .tools/bin).
# The demo's clients and players send 20 requests/s; with TRAFFIC=off only a
# first round, of some 90.
#
# Exit status: 0 stopped as asked, 1 something could not be started or died.
set -euo pipefail

started=$EPOCHREALTIME
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

release=${CARGO_TARGET_DIR:-target}/release
# How long each program may take to be ready, and to end once it is told to, in seconds.
READY_LIMIT=20
STOP_LIMIT=10

say() { printf 'run: %s\n' "$*"; }

# since TIME: seconds from then until now, to the tenth.
since() {
  awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'
}

# --- ports ------------------------------------------------------------------

# What is served where; the addresses are those of envoy/envoy.yaml and prometheus.yml.
PORTS=(
  "8080 api behind Envoy" "8081 discovery behind Envoy" "8082 playback behind Envoy" "8083 ingestion behind Envoy"
  "9080 api" "9081 discovery" "9082 playback" "9083 ingestion"
  "9901 Envoy's admin interface" "9464 bridge" "9090 Prometheus"
)

# holder_of INODE PORT: "name (pid N)" of the process that holds the socket.
holder_of() {
  local link pid
  link=$(find /proc/[0-9]*/fd -lname "socket:\\[$1\\]" -print -quit 2>/dev/null || true)
  if [[ -z $link ]]; then
    printf "a process of another user; find it: sudo ss -ltnp 'sport = :%s'" "$2"
    return
  fi
  pid=${link#/proc/}
  pid=${pid%%/*}
  printf '%s (pid %s); to stop it: kill %s' "$(cat "/proc/$pid/comm")" "$pid" "$pid"
}

# Ends with a line for every port that is taken.
check_ports() {
  local entry port hex inode taken=0
  for entry in "${PORTS[@]}"; do
    port=${entry%% *}
    if [[ -r /proc/net/tcp ]]; then
      # Column 2 is the local address, 4 the state (0A: listening), 10 the inode.
      hex=$(printf '%04X' "$port")
      inode=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
        awk -v port=":$hex" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10; exit }')
      [[ -n $inode ]] || continue
      say "port $port (${entry#* }) is taken by $(holder_of "$inode" "$port")" >&2
    else
      (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || continue
      say "port $port (${entry#* }) is taken; find the process: lsof -nP -iTCP:$port -sTCP:LISTEN" >&2
    fi
    taken=1
  done
  ((taken == 0))
}

# --- processes --------------------------------------------------------------

folder=
names=()
pids=()

# start NAME COMMAND...: in the background, in a session of its own (so that
# Ctrl-C reaches it only by us), with its output in the folder. Where it can be
# had, the kernel ends it should this script be killed.
start() {
  local name=$1 guard=()
  shift
  ! command -v setpriv >/dev/null || guard=(setpriv --pdeathsig TERM)
  setsid "${guard[@]}" "$@" </dev/null >"$folder/$name.log" 2>&1 &
  names+=("$name")
  pids+=($!)
}

# Runs a command that may take long, so that a signal does not have to wait for it.
interruptible() {
  setsid "$@" </dev/null &
  names+=("")
  pids+=($!)
  local status=0
  wait $! || status=$?
  unset 'names[-1]' 'pids[-1]'
  return "$status"
}

alive() { kill -0 "$1" 2>/dev/null; }

# Ends the run with the log's tail if one of the started programs is gone.
check_alive() {
  local i
  for i in "${!pids[@]}"; do
    alive "${pids[i]}" && continue
    local status=0
    wait "${pids[i]}" || status=$?
    say "${names[i]} died (exit status $status); the end of its log:" >&2
    tail -n 20 "$folder/${names[i]}.log" >&2
    exit 1
  done
}

# wait_until NAME COMMAND...: until COMMAND succeeds.
wait_until() {
  local name=$1 begin=$SECONDS
  shift
  until "$@"; do
    check_alive
    if ((SECONDS - begin >= READY_LIMIT)); then
      say "$name is not ready after $READY_LIMIT s; the end of its log:" >&2
      tail -n 20 "$folder/$name.log" >&2
      exit 1
    fi
    sleep 0.05
  done
}

stop_all() {
  trap '' INT TERM HUP
  local pid deadline=$((SECONDS + STOP_LIMIT))
  for pid in "${pids[@]}"; do
    # The whole session, which for cargo is more than one process.
    kill -TERM -- "-$pid" 2>/dev/null || true
  done
  for pid in "${pids[@]}"; do
    while kill -0 -- "-$pid" 2>/dev/null; do
      if ((SECONDS >= deadline)); then
        kill -KILL -- "-$pid" 2>/dev/null || true
        break
      fi
      sleep 0.05
    done
    wait "$pid" 2>/dev/null || true
  done
  [[ -z $folder ]] || rm -rf "$folder"
}

# Asked to stop: that is a success once everything runs.
running=0
asked_to_stop() {
  echo
  say "stopping"
  ((running)) && exit 0
  exit 130
}

trap stop_all EXIT
trap asked_to_stop INT TERM HUP

# --- what is ready ----------------------------------------------------------

answers() { curl -sf -o /dev/null --max-time 2 "$1"; }

demo_listens() { [[ $(grep -c '^listening ' "$folder/demo.log") == 4 ]]; }

redis_listens() { [[ -S $folder/redis.sock ]]; }

# program NAME: its path, from .tools/bin or from the PATH.
program() {
  if [[ -x .tools/bin/$1 ]]; then echo ".tools/bin/$1"; else command -v "$1"; fi
}

# How many targets Prometheus has seen up.
targets_up() {
  curl -sf --max-time 2 'http://localhost:9090/api/v1/query?query=sum(up)' |
    sed -n 's/.*"value":\[[^,]*,"\([0-9]*\)"\].*/\1/p'
}

# --- main -------------------------------------------------------------------

for needed in curl setsid awk; do
  command -v "$needed" >/dev/null || { say "$needed is needed and missing" >&2; exit 1; }
done
check_ports || exit 1

interruptible scripts/tools.sh wasm envoy
interruptible scripts/tools.sh prometheus || say "going on without Prometheus"
say "building (the first time takes minutes)"
interruptible make --no-print-directory build

folder=$(mktemp -d "${TMPDIR:-/tmp}/gatemeter-run-XXXXXX")
# What the programs write as temporary files goes with the folder, too.
export TMPDIR=$folder

if [[ -z ${REDIS_URL:-} ]] && redis=$(program redis-server); then
  start redis "$redis" --port 0 --unixsocket "$folder/redis.sock" --dir "$folder" --save '' --appendonly no
  wait_until redis redis_listens
  export REDIS_URL=redis+unix://$folder/redis.sock
fi
start demo "$release/gatemeter-demo"
start envoy .tools/bin/envoy -c envoy/envoy.yaml --disable-hot-restart
start bridge "$release/gatemeter-bridge" --envoy.admin=http://127.0.0.1:9901 --web.listen-address=127.0.0.1:9464
if prometheus=$(program prometheus); then
  start prometheus "$prometheus" --config.file=prometheus.yml --storage.tsdb.path="$folder/prometheus" \
    --web.listen-address=127.0.0.1:9090
fi

wait_until demo demo_listens
wait_until envoy answers http://127.0.0.1:9901/ready
wait_until bridge answers http://127.0.0.1:9464/-/ready
wait_until envoy answers http://localhost:8080/metrics
first_scrape=$(since "$started")
# A little of everything, so that the first page has it all; then more of it, so
# that graphs have something to show.
interruptible "$release/gatemeter-demo" traffic --rounds 1 --requests-per-second 400 \
  >"$folder/first-round.log" 2>&1 || say "the first round failed: $(tail -n 1 "$folder/first-round.log")" >&2
[[ ${TRAFFIC:-on} == off ]] || start traffic "$release/gatemeter-demo" traffic
[[ -z $prometheus ]] || wait_until prometheus answers http://localhost:9090/-/ready
check_alive
running=1

if [[ -n ${REDIS_URL:-} ]]; then cache=redis; else cache=memory; fi
traffic="20 requests/s; TRAFFIC=off make run does without"
[[ ${TRAFFIC:-on} != off ]] || traffic="off"
prometheus_at=http://localhost:9090
[[ -n $prometheus ]] || prometheus_at="not running: no Prometheus on the PATH, no Debian to take it from"
cat <<TEXT

  service     through Envoy           itself                  metrics
  api         http://localhost:8080   http://localhost:9080   http://localhost:8080/metrics
  discovery   http://localhost:8081   http://localhost:9081   http://localhost:8081/metrics
  playback    http://localhost:8082   http://localhost:9082   http://localhost:8082/metrics
  ingestion   http://localhost:8083   http://localhost:9083   http://localhost:8083/metrics

  bridge      http://localhost:9464   the live page; /metrics is all services on one page
  Envoy       http://localhost:9901   admin interface
  Prometheus  $prometheus_at
  cache       cache_type="$cache"
  logs        $folder
  traffic     $traffic

  Try:  curl -s localhost:8080/metrics
        curl -s localhost:9090/api/v1/query -d 'query=sum by (job) (http_requests_total)'

TEXT
say "first scrape ${first_scrape} s after the start; Ctrl-C stops everything"

# Every target of prometheus.yml is a job of its own.
targets=$(grep -c 'job_name:' prometheus.yml)
while :; do
  check_alive
  if [[ -n $prometheus && $(targets_up || true) == "$targets" ]]; then
    say "Prometheus sees all $targets targets up, $(since "$started") s after the start"
    prometheus=
  fi
  sleep 0.5
done
