
# Folders outside of the app's that its steps write to, and that are in the image.
RUN <<'SH'
set -eu
make() {
    if [ "$(realpath -m "$1")" != "$1" ] || [ -e "$1" ]; then
        echo "build.folders: $1 is the distribution's: name a folder that it does not have" >&2
        exit 1
    fi
    mkdir -p "$1"
    chown 1000:1000 "$1"
}
{{folders}}
SH
