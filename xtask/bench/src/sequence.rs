//! The gate as it was before it used two containers at once and the engine's
//! API: one thing after the other, each by a call of `docker`. A peer, without
//! the spec's own checks and the requests to health, which the window hid.

use container::ask;
use container::boot::MOUNT;
use container::look;
use definition::spec::ImageSpec;
use engine::RUN_LABEL;
use host::process::quote;
use smoke::checks::database;
use smoke::facts::{Moment, WINDOW};
use smoke::suite::{How, gate};

/// How tables name this peer.
pub(crate) const LABEL: &str = "the gate in sequence";

/// Takes turns at asking health inside until it says 200, or no longer does.
const HEALTH: &str = "\
is_200() { exec 3<>/dev/tcp/127.0.0.1/$PORT || return 1; printf 'GET %s HTTP/1.0\\r\\n\\r\\n' $PATH_ >&3; \
read -r _ status _ <&3; exec 3>&-; [ \"$status\" = 200 ]; }; \
n=0; $TEST is_200; do sleep 0.025; n=$((n + 1)); [ $n -lt 400 ] || exit 1; done 2>/dev/null";

/// A script of `sh` that takes `docker` and an image as its arguments. `run` is
/// the id of the run, so that what a killed one leaves is reaped.
pub(crate) fn script(spec: &ImageSpec, run: &str) -> String {
    let asked = |moments: &[Moment]| {
        let questions: Vec<(&str, &str)> = gate(spec.kind())
            .filter_map(|check| match check.how {
                How::Ask(when, script, _) if moments.contains(&when) => Some((check.name, script)),
                _ => None,
            })
            .collect();
        quote(&ask::script(&ask::prelude(spec), "bench", &questions))
    };
    let one = |script: &str| quote(&ask::script(&ask::prelude(spec), "bench", &[("one", script)]));
    let health = |test: &str| {
        let text = match &spec.app {
            Some(app) => HEALTH
                .replace("$PORT", &app.port.to_string())
                .replace("$PATH_", &quote(app.asked_path())),
            None => "$TEST pg_isready -q; do sleep 0.025; done".to_owned(),
        };
        let text = text.replace("$TEST", test);
        format!("$docker exec $run-1 bash -c {}", quote(&text))
    };
    let lines = [
        "docker=$1 image=$2 run=hive-bench-sequence-$$".to_owned(),
        "trap '$docker rm -f -v $run-1 $run-2; $docker volume rm -f $run' EXIT".to_owned(),
        "healthy() { until [ \"$($docker inspect -f '{{.State.Health.Status}}' $1)\" = healthy ]; do sleep 0.1; done; }".to_owned(),
        format!(
            "boot() {{ $docker run -d --name $1 --label {RUN_LABEL}={run} --publish 127.0.0.1::{0} \
             --volume $run:{MOUNT} $image; $docker port $1 {0}; healthy $1; }}",
            spec.port()
        ),
        "$docker image inspect $image".to_owned(),
        format!("$docker volume create --label {RUN_LABEL}={run} $run"),
        "boot $run-1".to_owned(),
        "ready=$(date +%s%3N)".to_owned(),
        "$docker history --no-trunc $image".to_owned(),
        format!("$docker exec $run-1 sh -c {}", asked(&[Moment::Fresh, Moment::Quiet])),
        "$docker exec $run-1 cat /run/hive/pgpass >/dev/null".to_owned(),
        format!("left=$((ready + {} - $(date +%s%3N)))", WINDOW.as_millis()),
        "[ $left -le 0 ] || sleep $(printf %d.%03d $((left / 1000)) $((left % 1000)))".to_owned(),
        format!("$docker exec $run-1 sh -c {}", asked(&[Moment::Settled])),
        "$docker logs $run-1".to_owned(),
        format!("$docker exec $run-1 sh -c {}", one(database::TAKE_AWAY)),
        health("while"),
        format!("$docker exec $run-1 sh -c {}", one(database::BRING_BACK)),
        health("until"),
        format!("$docker exec $run-1 sh -c {}", one(database::WRITE_ROWS)),
        "$docker stop --time 10 $run-1".to_owned(),
        "$docker inspect $run-1".to_owned(),
        format!(
            "$docker run --rm --label {RUN_LABEL}={run} --network none --volume $run:{MOUNT} --entrypoint sh $image -c {}",
            quote(&look::control_data(spec, &format!("{MOUNT}/pgdata")))
        ),
        "boot $run-2".to_owned(),
        format!("$docker exec $run-2 sh -c {}", asked(&[Moment::Again])),
        "$docker logs $run-1; $docker logs $run-2; $docker inspect $run-1".to_owned(),
    ];
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::process::Runner;

    #[test]
    fn it_asks_all_that_the_gate_asks_and_is_a_script() {
        let spec = crate::sample::spec();
        let text = script(&spec, "1-2");
        for check in gate(spec.kind()) {
            if let How::Ask(..) = check.how {
                assert!(
                    text.contains(&format!("bench begin {}", check.name)),
                    "{}",
                    check.name
                );
            }
        }
        let runner = Runner::new(std::sync::Arc::default()).unwrap();
        runner.cmd("sh").args(["-n", "-c", &text]).run().unwrap();
    }
}
