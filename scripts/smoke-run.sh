#!/usr/bin/env bash
# Starts `make run` as a user would, looks at what the README promises, stops it
# with Ctrl-C and then with SIGTERM, and checks that no process and no file of it
# is left. Needs the ports of the shipped setup. Everything must be over within
# the limit of each step. Exit status: 0 all as promised, 1 not, with the reason.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# In seconds: the first start may have to build and to download.
START_LIMIT=${START_LIMIT:-1200}
TARGETS_LIMIT=60
MOVES_LIMIT=60
STOP_LIMIT=20

# Whatever the run or its programs write as temporary files has to go here, and
# the name in their environment tells its processes from all others.
folder=$(mktemp -d "${TMPDIR:-/tmp}/gatemeter-smoke-XXXXXX")
temporary=$folder/tmp
log=$folder/log
runner=
echo "$temporary" >"$folder/name"

say() { printf 'smoke: %s\n' "$*"; }

fail() {
  say "$*" >&2
  say "the end of the log of make run:" >&2
  tail -n 40 "$log" >&2 || true
  exit 1
}

# Ends what is left of a failed run, by the processes' own ids.
clean_up() {
  local pid
  [[ -z $runner ]] || kill -TERM -- "-$runner" 2>/dev/null || true
  for pid in $(processes); do
    kill -KILL "$pid" 2>/dev/null || true
  done
  rm -rf "$folder"
}
trap clean_up EXIT

# The ids of all processes of the run. (The name comes from a file, so that grep
# does not find itself.)
processes() {
  grep -laF -f "$folder/name" /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null |
    cut -d / -f 3 | sort -u || true
}

# until_true LIMIT WHAT COMMAND...
until_true() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "$what: not within the limit"
    [[ -z $runner ]] || kill -0 "$runner" 2>/dev/null || fail "$what: make run has ended"
    sleep 0.2
  done
}

begin() {
  mkdir -p "$temporary"
  : >"$log"
  # As in a terminal: a group of its own, which job control gives, and SIGINT not
  # ignored, which a shell that was itself started in the background would hand on.
  set -m
  TMPDIR=$temporary env --default-signal=INT make run </dev/null >"$log" 2>&1 &
  runner=$!
  set +m
  until_true "$START_LIMIT" "make run prints its addresses" grep -q 'Ctrl-C stops everything' "$log"
}

# end SIGNAL: as a terminal does it, to the whole group.
end() {
  local ended=$runner
  runner=
  kill "-$1" -- "-$ended"
  local deadline=$((SECONDS + STOP_LIMIT))
  while kill -0 "$ended" 2>/dev/null; do
    ((SECONDS < deadline)) || fail "SIG$1 does not stop make run"
    sleep 0.1
  done
  wait "$ended" 2>/dev/null || true
  local left
  left=$(processes)
  [[ -z $left ]] || fail "SIG$1 leaves processes: $(for pid in $left; do tr '\0' ' ' <"/proc/$pid/cmdline"; done)"
  left=$(find "$temporary" -mindepth 1)
  [[ -z $left ]] || fail "SIG$1 leaves files: $left"
  for port in 8080 8081 8082 8083 9080 9081 9082 9083 9901 9464 9090; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      fail "SIG$1 leaves something listening on port $port"
    fi
  done
}

# moved PORT SERIES: whether a series of this name, with any labels, is above 0.
moved() {
  curl -sf --max-time 5 "localhost:$1/metrics" |
    awk -v name="$2" '$1 == name || index($1, name "{") == 1 { if ($NF > 0) found = 1 } END { exit !found }'
}

all_targets_up() { grep -q 'targets up' "$log"; }

say "starting make run (limit $START_LIMIT s)"
begin
grep 'first scrape' "$log"

promtool=.tools/bin/promtool
[[ -x $promtool ]] || promtool=promtool
for port in 8080 8081 8082 8083 9464; do
  page=$(curl -sf --max-time 5 "localhost:$port/metrics") || fail "no page on port $port"
  for family in http_requests_total http_request_duration_seconds_bucket active_connections \
    db_connections_active db_connections_idle cache_hits_total cache_misses_total; do
    grep -q "^${family}[{ ]" <<<"$page" || fail "port $port has no $family"
  done
  complaints=$("$promtool" check metrics <<<"$page" 2>&1) || fail "promtool on port $port: $complaints"
done
say "the pages are complete and promtool is content"

while read -r port series; do
  until_true "$MOVES_LIMIT" "$series on port $port moves" moved "$port" "$series"
done <<'SERIES'
8080 auth_attempts_total
8080 rate_limit_hits_total
8081 search_queries_total
8081 search_query_duration_seconds_count
8081 recommendation_duration_seconds_count
8081 vector_db_query_duration_seconds_count
8082 stream_init_duration_seconds_count
8082 stream_bitrate_changes_total
8082 stream_buffer_events_total
8083 content_processing_duration_seconds_count
8083 metadata_extraction_duration_seconds_count
8083 storage_uploads_total
8083 storage_upload_bytes_total
SERIES
say "every metric of the four presets moves"

if TMPDIR=$temporary scripts/run.sh >"$folder/second" 2>&1; then
  fail "a second run started beside the first"
fi
grep -qE 'port 8080 .* is taken by envoy.* \(pid [0-9]+\)' "$folder/second" ||
  fail "a second run does not name the taken port and its process: $(cat "$folder/second")"
say "a second run names the taken ports"

until_true "$TARGETS_LIMIT" "Prometheus sees all targets up" all_targets_up
grep 'targets up' "$log"

end INT
say "Ctrl-C stops it and leaves nothing"
begin
end TERM
say "SIGTERM stops it and leaves nothing"
