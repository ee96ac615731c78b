# Beside what the app's own list says, and from where that comes. A list without hashes leaves versions
# open: they are decided on together. What a lock has stays as it is.
printf '%s\n' {{requirements}} > /opt/uv/with.txt
cat > /opt/uv/with-list <<'WITH'
case $1 in
*.txt) grep -q -e --hash= "$1" || echo '--requirement /opt/uv/with.txt' ;;
esac
WITH
cat > /opt/uv/with <<'WITH'
# Indexes are in uv's variables, as `asks` has put them: here is what else a list says of places.
if [ -f /opt/places ]; then cat /opt/places; fi > /tmp/with
cat /opt/uv/with.txt >> /tmp/with
uv pip list --python /opt/venv/bin/python --format freeze > /tmp/installed
uv pip install --python /opt/venv/bin/python --constraint /tmp/installed --requirement /tmp/with
WITH
