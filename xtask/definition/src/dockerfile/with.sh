# Beside what the app's own list says, and from where that comes. A list without hashes leaves versions
# open: they are decided on together. What a lock has stays as it is.
printf '%s\n' {{requirements}} > /opt/uv/with.txt
cat > /opt/uv/with-list <<'WITH'
case $1 in
*.txt) grep -q -e --hash= "$1" || echo '--requirement /opt/uv/with.txt' ;;
esac
WITH
cat > /opt/uv/with <<'WITH'
places='^(-i|--index-url|--extra-index-url|-f|--find-links|--no-index|--trusted-host)([= ]|$)'
grep -Es "$places" /deps/ahead.txt > /tmp/with || true
cat /opt/uv/with.txt >> /tmp/with
uv pip list --python /opt/venv/bin/python --format freeze > /tmp/installed
uv pip install --python /opt/venv/bin/python --constraint /tmp/installed --requirement /tmp/with
WITH
