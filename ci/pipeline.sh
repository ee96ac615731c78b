#!/bin/sh
# The steps of any pipeline, each one command. GitHub's workflows call the same.
#
#   ci/pipeline.sh check    formatting, lints, docs, rendered files, fast tests
#   ci/pipeline.sh images   build, prove and tag all images; report in reports/
#   ci/pipeline.sh test     everything, engine tests too
set -eu
cd "$(dirname "$0")/.."

case "${1:-}" in
check)
    cargo xtask test --no-engine
    ;;
images)
    mkdir -p reports
    cargo xtask build-images --json > reports/images.json
    cargo xtask smoke --junit reports/smoke.xml --json \
        --markdown "${GITHUB_STEP_SUMMARY:-reports/smoke.md}" > reports/smoke.json
    ;;
test)
    cargo xtask test
    ;;
*)
    echo "usage: ci/pipeline.sh check|images|test" >&2
    exit 2
    ;;
esac
