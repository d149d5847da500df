#!/usr/bin/env bash
# Make a virtual environment with this project in it, or bring it up to date:
#     scripts/setup_env.sh VENV [EXTRAS]        for instance: scripts/setup_env.sh .venv render,dev
# Does nothing when pyproject.toml and constraints.txt are as they were last time.
# PYTHON names the interpreter, TORCH_INDEX_URL a package index for torch alone (say, one with
# CPU-only builds, which are ten times smaller). CONSTRAINTS names another file of exact versions:
# requirements-alliance.txt has those of the Alliance clusters.
set -euo pipefail

usage="usage: scripts/setup_env.sh VENV [EXTRAS]"
root=$(cd "$(dirname "$0")/.." && pwd)

say() { echo "setup: $*" >&2; }
fail() { say "error: $*"; exit 2; }
works() { "$@" >/dev/null 2>&1; }

# Names of the extras that pyproject.toml defines, joined by commas.
known_extras() {
    local line names="" inside=false
    while IFS= read -r line; do
        [[ $line == "["* ]] && inside=false
        [[ $line == "[project.optional-dependencies]"* ]] && inside=true
        if $inside && [[ $line =~ ^([A-Za-z0-9_-]+)\ *= ]]; then names+=",${BASH_REMATCH[1]}"; fi
    done <"$root/pyproject.toml"
    echo "${names#,}"
}

# The comment at the head of this file, and the extras.
print_help() {
    local line
    while IFS= read -r line && [[ $line == "#"* ]]; do
        [[ $line == "#!"* ]] || echo "${line#"# "}"
    done <"$0"
    echo "EXTRAS are joined by commas, of: $(known_extras)"
}

check_arguments() {
    local argument extra rest known
    for argument in "$@"; do
        case $argument in
            -h | --help) print_help; exit 0 ;;
            -*) fail "unknown option $argument; $usage" ;;
        esac
    done
    [[ -n ${1:-} ]] || fail "no folder is given for the environment; $usage"
    [[ $# -le 2 ]] || fail "$# arguments are given, at most 2 are expected; extras are joined by" \
        "commas; $usage"
    known=$(known_extras)
    rest=${2:+${2// /},}
    # pip would only warn of a name that there is not, and install nothing of what was meant.
    while [[ -n $rest ]]; do
        extra=${rest%%,*} rest=${rest#*,}
        [[ -n $extra && ,$known, == *",$extra,"* ]] ||
            fail "there is no extra '$extra'; there are: ${known//,/, }"
    done
}

check_arguments "$@"
venv=$1
extras=${2:-}
extras=${extras// /}
stamp="$venv/.installed-${extras//,/-}"
constraints=${CONSTRAINTS:-$root/constraints.txt}
wanted="$root $(cat "$root/pyproject.toml" "$constraints" | cksum)"

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3.11 python3 python}; do
        if works "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))'; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 not found (Blender's module and PyTorch meet in no other version)." \
        "Install it, e.g. apt-get install python3.11 python3.11-venv; on Alliance clusters:" \
        "module load python/3.11. Or set PYTHON to it."
}

# debian_install REASON PACKAGE...: install where we may, else say what is missing.
debian_install() {
    local reason=$1
    shift
    if [[ $(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then
        fail "$reason. Install these system packages (Debian names), then start again: $*"
    fi
    say "$reason; installing $*"
    export DEBIAN_FRONTEND=noninteractive
    local install=(apt-get install -y -qq --no-install-recommends "$@")
    works "${install[@]}" || { apt-get update -qq && "${install[@]}" >/dev/null; } ||
        fail "apt-get could not install $*"
}

make_venv() {
    works "$venv/bin/python" -m pip --version && return
    local python
    python=$(find_python)
    say "making $venv with $("$python" --version)"
    if [[ -n ${CC_CLUSTER:-} ]]; then
        virtualenv --quiet --no-download --clear --python "$python" "$venv"
        return
    fi
    works "$python" -c 'import ensurepip' ||
        debian_install "this Python cannot make virtual environments" python3.11-venv
    "$python" -m venv --clear "$venv"
}

install_packages() {
    local pip=("$venv/bin/python" -m pip install -qq --disable-pip-version-check)
    local project="$root${extras:+[$extras]}"
    if [[ -n ${CC_CLUSTER:-} ]]; then
        say "installing from the wheels of $CC_CLUSTER"
        "${pip[@]}" --no-index --upgrade pip setuptools wheel
        "${pip[@]}" --no-index --no-build-isolation -e "$project"
        return
    fi
    local torch
    torch=$(grep '^torch==' "$constraints")
    say "installing $torch (the largest download)"
    # First and alone, so that nothing later brings another torch.
    "${pip[@]}" ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} "$torch"
    say "installing the other packages${extras:+ (extras: $extras)}"
    "${pip[@]}" -c "$constraints" -e "$project"
}

check_blender() {
    [[ ,$extras, == *,render,* ]] || return 0
    works "$venv/bin/python" -c 'import bpy' && return
    local packages
    packages=$("$venv/bin/python" "$root/scripts/doctor.py" --missing-packages)
    # shellcheck disable=SC2086
    [[ -z $packages ]] || debian_install "Blender's module lacks system libraries" $packages
    "$venv/bin/python" -c 'import bpy' || fail "Blender's module (bpy) cannot be imported"
}

[[ -f $stamp && $(<"$stamp") == "$wanted" ]] && exit 0
make_venv
install_packages
check_blender
echo "$wanted" >"$stamp"
say "$venv is ready after $SECONDS s"
