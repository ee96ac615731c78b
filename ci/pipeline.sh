#!/bin/sh
# The steps of any pipeline, each one command. GitHub's workflows call the same.
#
#   ci/pipeline.sh check    formatting, lints, docs, rendered files, fast tests
#   ci/pipeline.sh images   build, prove and tag all images; report in reports/
#   ci/pipeline.sh test     everything, engine tests too
#   ci/pipeline.sh release  images, the full suite, the audit of the fingerprint: minutes
#   ci/pipeline.sh figures  what is promised, measured beside the peers: judges nothing
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
release)
    mkdir -p reports
    cargo xtask build-images --json > reports/images.json
    cargo xtask smoke --suite full --junit reports/full.xml --json \
        --markdown "${GITHUB_STEP_SUMMARY:-reports/full.md}" > reports/full.json
    cargo xtask audit --json > reports/audit.json
    ;;
figures)
    mkdir -p reports
    cargo xtask bench --json > reports/bench.json
    ;;
*)
    echo "usage: ci/pipeline.sh check|images|test|release|figures" >&2
    exit 2
    ;;
esac
