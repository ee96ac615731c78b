# Beside what the app's own list says, whose versions stay as they are, and from where that comes.
cat > /opt/uv/with <<'WITH'
places='^(-i|--index-url|--extra-index-url|-f|--find-links|--no-index|--trusted-host)([= ]|$)'
grep -Es "$places" /deps/ahead.txt > /tmp/with || true
printf '%s\n' {{requirements}} >> /tmp/with
uv pip list --python /opt/venv/bin/python --format freeze > /tmp/installed
uv pip install --python /opt/venv/bin/python --constraint /tmp/installed --requirement /tmp/with
WITH
