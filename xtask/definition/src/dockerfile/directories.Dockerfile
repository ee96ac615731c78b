# Folders of the app that lie on the volume: links lead there, and what the image has in them waits
# for the start that makes them.
RUN <<'SH'
set -eu
wrong=0
refuse() {
    echo "app.directories: $1" >&2
    wrong=1
}
keep() {
    if [ "$(realpath -m "$1")" != "$1" ]; then
        refuse "$1 is reached by a link: name $(realpath -m "$1"), or remove the link"
    elif [ -e "$1" ] && [ ! -d "$1" ]; then
        refuse "$1 is no folder"
    elif [ -n "$(find "$1" -name '*.py' -print -quit 2>/dev/null)" ]; then
        refuse "$1 holds code ($(find "$1" -name '*.py' -print -quit)), which the volume would keep as it is now"
    else
        mkdir -p "$1" "/usr/share/hive/files${1%/*}"
        mv "$1" "/usr/share/hive/files$1"
        ln -s "/run/hive/files$1" "$1"
    fi
}
{{directories}}
[ "$wrong" = 0 ]
chown -R 0:0 /usr/share/hive/files
chmod -R u=rwX,go=rX /usr/share/hive/files
SH

