#!/bin/sh
# Moves a database as one does it by hand. `make` turns the backup on standard input into a cluster
# that was shut down, `serve` has a copy of it and an empty cluster served, `move` is what is timed.
set -eu
verb=$1
database=$2
unset PGSERVICE PGSERVICEFILE PGDATA
export PGHOST=/tmp PGUSER=postgres
if [ "$(id -u)" = 0 ]; then
    mkdir -p /past/pgdata
    chown -R hive:hive /past
    exec setpriv --reuid=hive --regid=hive --clear-groups sh "$0" "$@"
fi

start() {
    printf 'local all all trust\n' > /tmp/hba
    postgres -D "$1" -p "$2" -c unix_socket_directories=/tmp -c listen_addresses= -c hba_file=/tmp/hba \
        -c config_file=/etc/hive/postgresql.conf -c data_directory="$1" > "/tmp/log.$2" 2>&1 &
    until pg_isready -q -p "$2"; do sleep 0.1; done
}

case $verb in
make)
    chmod 700 /past/pgdata
    tar -x -C /past/pgdata
    start /past/pgdata 5433
    kill -INT $!
    wait
    ;;
serve)
    cp -a /past/pgdata /tmp/old
    start /tmp/old 5433
    initdb --pgdata=/tmp/new --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 > /tmp/initdb
    start /tmp/new 5434
    pg_dumpall -p 5433 --roles-only | grep -v 'ROLE postgres' | psql -Xq -p 5434 -d postgres
    createdb -p 5434 "$database"
    touch /tmp/ready
    wait
    ;;
move)
    pg_dump -p 5433 -Fd -j2 -f /tmp/dump "$database"
    pg_restore -p 5434 -Fd -j2 -d "$database" /tmp/dump
    pg_dump -p 5434 -Fd -j2 -f /tmp/again "$database"
    ;;
esac
