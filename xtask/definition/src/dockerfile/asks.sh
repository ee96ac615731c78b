# Puts indexes of the app's before those of the machine: $1 has variables of uv's with their values. A
# `${NAME}` is filled in here, as uv does it in a list, so that a login is in no file. Where the app has
# a first index of its own, none that pip's settings name is asked beside it: pip asks none, either.
asks() {
    [ -s "$1" ] || return 0
    before=
    while read -r variable value; do
        value=$(python3 -I -S -c '
import os, re, sys
print(re.sub(r"\$\{([A-Z0-9_]+)\}", lambda m: os.environ.get(m[1], m[0]), sys.argv[1]))' "$value")
        case $variable in
        UV_DEFAULT_INDEX)
            [ -z "${HIVE_INDEXES_OF_PIP:-}" ] || unset UV_INDEX
            unset UV_INDEX_URL
            export UV_DEFAULT_INDEX="$value"
            ;;
        UV_INDEX) before="$before${before:+ }$value" ;;
        UV_PRERELEASE) export UV_PRERELEASE="${UV_PRERELEASE:-$value}" ;;
        esac
    done < "$1"
    [ -z "$before" ] || export UV_INDEX="$before${UV_INDEX:+ $UV_INDEX}"
}
