# Installs each list from its own indexes. Code that builds a package sees those in the machine's order:
# what it asks for has no hash. The file of a wheel may come from any of them where its hash is known.
for list in ahead-*.txt; do
    [ -f "$list" ] || continue
    (
        asks "${list%.txt}.indexes"
        set -- pip install --python /opt/venv/bin/python --no-deps --requirement
        if [ ! -f "${list%.txt}.any" ]; then
            install "$@" "$list"
            exit
        fi
        grep -v ' @ ' "$list" > /tmp/wheels.txt || true
        grep ' @ ' "$list" > /tmp/sources.txt || true
        until uv "$@" /tmp/wheels.txt --no-build --index-strategy unsafe-best-match 2> /tmp/uv; do
            name=$(sed -n 's/.*Wheels are required for `\([A-Za-z0-9._-]*\)`.*/\1/p' /tmp/uv | head -n 1)
            if [ -z "$name" ] || ! grep -E "^$name(\[|=| )" /tmp/wheels.txt >> /tmp/sources.txt; then
                # Said again by what follows, unless the order decides on it.
                cp "$list" /tmp/sources.txt
                break
            fi
            echo "$name has no wheel for this Python"
            grep -vE "^$name(\[|=| )" /tmp/wheels.txt > /tmp/left || true
            mv /tmp/left /tmp/wheels.txt
        done
        if [ -s /tmp/sources.txt ]; then install "$@" /tmp/sources.txt; fi
    )
done
