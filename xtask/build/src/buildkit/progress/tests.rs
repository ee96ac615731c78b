//! Streams as BuildKit sends them.

use super::*;

#[test]
fn objects_are_cut_out_of_both_formats() {
    let mut splitter = Splitter::default();
    assert_eq!(
        splitter.push("{\"a\":\"}{\\\"\"}"),
        Piece::Object("{\"a\":\"}{\\\"\"}\n".to_owned())
    );
    assert_eq!(splitter.push("{"), Piece::Pending);
    assert_eq!(splitter.push("  \"a\": {}"), Piece::Pending);
    assert_eq!(
        splitter.push("}"),
        Piece::Object("{\n  \"a\": {}\n}\n".to_owned())
    );
    assert_eq!(splitter.push("ERROR: x"), Piece::Plain("ERROR: x".to_owned()));
}

#[test]
fn each_image_sees_its_steps_under_its_own_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let report = Report::new(true, false);
    let mut progress = Progress::new(Detail::Quiet, &["genie", "agent"], dir.path()).unwrap();
    for line in [
        r#"{"vertexes":[{"digest":"d1","name":"[genie deps  3/12] RUN x","started":"t","completed":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d1","name":"[agent deps 3/9] RUN x","started":"t","completed":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d2","name":"[agent deps 4/9] COPY --link a /a","completed":"t","cached":true}]}"#,
        r#"{"vertexes":[{"digest":"d3","name":"[agent deps 4/9] LINK COPY --link a /a","completed":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d4","name":"[agent deps 5/9] RUN y","started":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d5","name":"[agent deps 6/9] RUN z","completed":"t","error":"exit code: 1"}]}"#,
        r#"{"vertexes":[{"digest":"d6","name":"[agent internal] load build context","completed":"t"}]}"#,
    ] {
        progress.line(&report, line.as_bytes()).unwrap();
    }
    let seen = |image: &str| -> Vec<(usize, usize, StepOutcome)> {
        let all = progress.seen(image).into_iter();
        all.map(|(place, seen)| (place.step, place.of, seen)).collect()
    };
    assert_eq!(seen("genie"), [(3, 12, StepOutcome::Run)]);
    assert_eq!(
        seen("agent"),
        [(3, 9, StepOutcome::Run), (4, 9, StepOutcome::Cached)]
    );
}

#[test]
fn outcome_is_what_ran_and_what_was_cached() {
    let dir = tempfile::tempdir().unwrap();
    let report = Report::new(true, false);
    let mut progress = Progress::new(Detail::Quiet, &["genie", "agent"], dir.path()).unwrap();
    for line in [
        r#"{"vertexes":[{"digest":"d1","name":"[genie deps  3/12] RUN x [y] z","started":"t","completed":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d1","name":"[agent deps  3/12] RUN x [y] z","started":"t","completed":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d2","name":"[agent 2/2] COPY . /app","completed":"t","cached":true}]}"#,
        r#"{"vertexes":[{"digest":"d3","name":"[agent internal] load build context","completed":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d4","name":"[genie deps  4/12] RUN w","started":"t"}]}"#,
    ] {
        progress.line(&report, line.as_bytes()).unwrap();
    }
    let (both, agent) = (
        BTreeSet::from(["agent".to_owned(), "genie".to_owned()]),
        BTreeSet::from(["agent".to_owned()]),
    );
    let did: Vec<Did<'_>> = progress.outcome().collect();
    assert_eq!(
        did,
        [
            Did {
                targets: &both,
                stage: "deps",
                instruction: "RUN x [y] z",
                cached: false
            },
            Did {
                targets: &agent,
                stage: "",
                instruction: "COPY . /app",
                cached: true
            },
        ]
    );
}

#[test]
fn a_probe_ends_at_the_first_step_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let report = Report::new(true, false);
    let mut progress = Progress::new(Detail::Quiet, &["genie"], dir.path())
        .unwrap()
        .until_a_step_runs();
    for line in [
        r#"{"vertexes":[{"digest":"d0","name":"[internal] load build context","started":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d1","name":"[deps 1/3] FROM base","started":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d2","name":"[deps 2/3] RUN x"}]}"#,
        r#"{"vertexes":[{"digest":"d2","name":"[deps 2/3] RUN x","started":"t","completed":"t","cached":true}]}"#,
    ] {
        progress.line(&report, line.as_bytes()).unwrap();
    }
    assert_eq!(progress.ended_by(), None);
    let line = r#"{"vertexes":[{"digest":"d3","name":"[deps 3/3] RUN y","started":"t"}]}"#;
    progress.line(&report, line.as_bytes()).unwrap_err();
    assert_eq!(progress.ended_by(), Some(("deps", "RUN y")));
}

#[test]
fn a_failure_names_step_lines_and_log() {
    let dir = tempfile::tempdir().unwrap();
    let report = Report::new(true, false);
    let mut progress = Progress::new(Detail::Quiet, &["genie", "agent"], dir.path()).unwrap();
    for line in [
        r#"{"vertexes":[{"digest":"d1","name":"[genie python-deps 3/7] RUN uv sync","started":"t"}]}"#,
        r#"{"vertexes":[{"digest":"d1","name":"[agent python-deps 3/7] RUN uv sync","started":"t"}]}"#,
        r#"{"logs":[{"vertex":"d1","stream":2,"data":"YmFkIGNlcnRpZmljYXRlCg=="}]}"#,
        r#"{"vertexes":[{"digest":"d1","name":"[agent python-deps 3/7] RUN uv sync","started":"t","completed":"t","error":"process \"x\" did not complete successfully: exit code: 2"}]}"#,
        "ERROR: failed to solve",
    ] {
        progress.line(&report, line.as_bytes()).unwrap();
    }
    let failure = progress.failure(std::os::unix::process::ExitStatusExt::from_raw(256));
    assert_eq!(
        failure.message,
        "build of agent and genie failed at [python-deps 3/7] RUN uv sync\n  bad certificate\n  the step ended with exit code: 2"
    );
    assert!(failure.hints[0].contains("--ca-bundle"), "{failure:?}");
    assert!(failure.hints[1].contains("build.log"), "{failure:?}");
    let log = fs_err::read_to_string(dir.path().join("genie/build.log")).unwrap();
    assert!(
        log.contains("bad certificate") && log.contains("ERROR: failed to solve"),
        "{log}"
    );
}

#[test]
fn a_step_ends_in_the_log_of_its_own_image_and_lines_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let report = Report::new(true, false);
    let mut progress = Progress::new(Detail::Quiet, &["genie", "agent"], dir.path()).unwrap();
    let log = |text: &[u8]| {
        let data = BASE64_STANDARD.encode(text);
        format!("{{\"logs\":[{{\"vertex\":\"d2\",\"data\":\"{data}\"}}]}}")
    };
    let lines = [
        // The same name, since the stages are alike; another build.
        r#"{"vertexes":[{"digest":"d1","name":"[genie deps 3/9] RUN x","started":"t"}]}"#.to_owned(),
        r#"{"vertexes":[{"digest":"d2","name":"[agent deps 3/9] RUN x","started":"t"}]}"#.to_owned(),
        log(b"Using CPy"),
        log("thon 3.13 gr\u{fc}".as_bytes().split_last().unwrap().1),
        log(&[0xbc]),
        log(b"n\nerror"),
        log(b": no"),
        r#"{"vertexes":[{"digest":"d2","name":"[agent deps 3/9] RUN x","started":"t","completed":"t"}]}"#
            .to_owned(),
    ];
    for line in lines {
        progress.line(&report, line.as_bytes()).unwrap();
    }
    let read = |image: &str| fs_err::read_to_string(dir.path().join(image).join("build.log")).unwrap();
    assert_eq!(read("genie"), "");
    let lines: Vec<String> = read("agent").lines().map(str::to_owned).collect();
    assert_eq!(lines[..2], ["Using CPython 3.13 grün", "error: no"]);
    assert!(lines[2].starts_with("[deps 3/9] RUN x done "), "{lines:?}");
}
