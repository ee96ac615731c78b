RUN --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=proxies <<'SH'
set -eu
{{network_without_logins}}
. /opt/manager/environment
run_script() {
    case $(cat /opt/manager/kind) in
        berry) as_user yarn run "$1" ;;
        *) as_user "$(cat /opt/manager/kind)" run "$1" ;;
    esac
}
# What an older build has left in the app's folder is not this build's.
rm -rf /app/{{node_output}}
{{node_command}}
if [ ! -d /app/{{node_output}} ]; then
    echo "the front end's build has made no folder {{node_output}} (build.node.output)" >&2
    exit 1
fi
SH
