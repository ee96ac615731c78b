#!/bin/sh
# Starts a server from the copy of the source, by programs of its version, with a superuser of ours
# in it: nobody knows how the source's own is called.
set -eu
bin=$1
role=$2
work=/hive-migrate
cd "$work"

# All locales are that of C here. A dump sorts no text, and the machine that the source comes from
# may have had others than this one.
export LC_ALL=C LOCPATH="$work/locale"
for here in /usr/lib/locale/C.utf8 /usr/lib/locale/C.UTF-8; do
    [ ! -d "$here" ] || locale=$here
done
as_c() {
    [ -z "${locale:-}" ] || [ -e "locale/$1" ] || ln -s "$locale" "locale/$1"
}

single() {
    said=$(printf '%s\n' "$1" |
        "$bin/postgres" --single -D old -c "config_file=$work/old.conf" template1 2>&1) || return 1
    case $said in *ERROR:*) return 1 ;; esac
}

before=
until single 'SELECT datcollate, datctype FROM pg_database'; do
    missing=$(printf '%s\n' "$said" | sed -n 's/.*initialized with LC_[A-Z]* "\([^"]*\)".*/\1/p')
    if [ -z "$missing" ] || [ "$missing" = "$before" ]; then
        printf '%s\n' "$said" >&2
        exit 1
    fi
    before=$missing
    as_c "$missing"
done
printf '%s\n' "$said" | sed -n 's/.*dat[a-z]* = "\([^"/]*\)".*/\1/p' | sort -u | while read -r name; do
    as_c "$name"
done
if ! single "CREATE ROLE $role SUPERUSER LOGIN"; then
    printf '%s\n' "$said" >&2
    exit 1
fi
if ! "$bin/pg_ctl" start -D old -l old.log -s -w -t 86400 -o "-c config_file=$work/old.conf"; then
    tail -n 20 old.log >&2
    exit 1
fi
