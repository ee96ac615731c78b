# Whether uv.lock says what its projects do. A lock counts that was made with the index settings of this
# machine, or without them: what is installed comes from where the lock says. Without them no index is
# asked: the names of what the machine's have may be somebody else's there. A project whose own code
# has to be asked is known to uv from then on.
is_current() {
    bare() {
        env -u UV_INDEX -u UV_DEFAULT_INDEX -u UV_INDEX_URL -u UV_EXTRA_INDEX_URL \
            -u UV_INDEX_STRATEGY -u UV_EXCLUDE_NEWER -u UV_EXCLUDE_NEWER_PACKAGE -u UV_PRERELEASE \
            -u UV_RESOLUTION XDG_CONFIG_HOME=/nonexistent "$@"
    }
    if uv lock --check --offline 2> /dev/null || bare uv lock --check --offline 2> /dev/null ||
        uv lock --check 2> /tmp/uv || bare uv lock --check --offline 2> /dev/null; then
        return
    fi
    cat /tmp/uv >&2
    return 1
}
