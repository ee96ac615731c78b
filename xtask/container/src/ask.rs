//! Many questions to a container in one `docker exec`, which costs a tenth of
//! a second each time.
//!
//! A question is a shell script. Each runs in a shell of its own under a
//! deadline of its own; what it prints comes back with its exit code and
//! duration. The scripts find the app's role by libpq's variables, taken from
//! the spec: it is what the image has to be, not what it says of itself. Where the
//! database of an app alone is only its container knows: there they ask by the
//! service that it has written down.

use std::fmt::Write as _;
use std::time::Duration;

use crate::http::one_line;
use definition::spec::ImageSpec;
use host::process::quote;

/// No question takes longer, even in a container that does not work.
pub const DEADLINE: Duration = Duration::from_secs(15);

/// `timeout` of coreutils ends a command with this status.
const TIMED_OUT: i32 = 124;

/// What a question's script did.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The exit code of the question's script.
    pub code: i32,
    /// All it printed, stdout and stderr, without the newlines at its end.
    pub text: String,
    /// Measured inside, without the exec around it.
    pub took: Duration,
}

impl Answer {
    /// Whether it ended with exit code 0.
    pub fn ok(&self) -> bool {
        self.code == 0
    }

    /// What it printed, on one line, with the exit code where it says
    /// something.
    pub fn shown(&self) -> String {
        let text = one_line(&self.text);
        match self.code {
            0 => text,
            TIMED_OUT => format!("no answer within {} s: {text}", DEADLINE.as_secs()),
            code if text.is_empty() => format!("exit code {code}"),
            code => format!("exit code {code}: {text}"),
        }
    }
}

/// What stands before every question.
pub fn prelude(spec: &ImageSpec) -> String {
    let way = match spec.database.elsewhere {
        Some(_) => {
            "unset PGHOST PGPORT PGPASSFILE; export PGSERVICE=app PGSERVICEFILE=/run/hive/pg_service.conf\n"
        }
        None => "export PGHOST=127.0.0.1 PGPORT=5432 PGPASSFILE=/run/hive/pgpass\n",
    };
    let mut text = format!("unset PGPASSWORD PGSERVICE PGHOSTADDR\n{way}");
    text += "export PGCONNECT_TIMEOUT=5 PGAPPNAME=smoke PGOPTIONS='-c client_min_messages=warning'\n\
         export LC_ALL=C PAGER=cat PSQLRC=/dev/null\n\
         # Before /usr/bin: Debian's psql there is a Perl script that may be gone.\n\
         for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done\n\
         export PATH\n";
    for (key, value) in [
        ("PGDATABASE", &spec.database.name),
        ("PGUSER", &spec.database.role),
    ] {
        // Writing to a String cannot fail.
        let _ok = writeln!(text, "export {key}={}", quote(value)).is_ok();
    }
    text
}

/// The script for `sh -c` that asks all `questions`. `token` must not occur in
/// any answer.
pub fn script(prelude: &str, token: &str, questions: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, question) in questions {
        let whole = quote(&format!("{prelude}{question}"));
        let _ok = write!(
            text,
            "echo '{token} begin {name}'\n\
             began=$(date +%s%3N)\n\
             timeout -k 1 {} sh -c {whole} </dev/null 2>&1\n\
             code=$?\n\
             printf '\\n%s\\n' \"{token} end $code $(($(date +%s%3N) - began))\"\n",
            DEADLINE.as_secs(),
        )
        .is_ok();
    }
    text
}

/// The answers in `output`, by name; a question that the shell did not get to
/// has none.
pub fn answers(token: &str, output: &str) -> Vec<(String, Answer)> {
    let (begin, end) = (format!("{token} begin "), format!("{token} end "));
    let mut found = Vec::new();
    let mut rest = output;
    while let Some(at) = rest.find(&begin) {
        let (name, body) = split_line(&rest[at + begin.len()..]);
        let Some(stop) = body.find(&end) else { break };
        let (last, after) = split_line(&body[stop + end.len()..]);
        let mut numbers = last.split(' ').map(str::parse::<i64>);
        if let (Some(Ok(code)), Some(Ok(ms))) = (numbers.next(), numbers.next()) {
            found.push((
                name.to_owned(),
                Answer {
                    code: i32::try_from(code).unwrap_or(-1),
                    text: body[..stop].trim_end_matches('\n').to_owned(),
                    took: Duration::from_millis(u64::try_from(ms).unwrap_or(0)),
                },
            ));
        }
        rest = after;
    }
    found
}

/// The first line and what follows it.
fn split_line(text: &str) -> (&str, &str) {
    text.split_once('\n').unwrap_or((text, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::process::Runner;

    fn run(questions: &[(&str, &str)]) -> Vec<(String, Answer)> {
        let runner = Runner::new(std::sync::Arc::default()).unwrap();
        let script = script("greeting='it'\"'\"'s'\n", "T0K3N", questions);
        let output = runner.cmd("sh").args(["-c", &script]).output().unwrap();
        answers("T0K3N", &output.stdout_text())
    }

    #[test]
    fn each_question_gets_its_own_answer() {
        let got = run(&[
            ("one", "echo \"$greeting fine\"; echo two >&2"),
            ("bad", "echo 'no newline' | tr -d '\\n'; exit 3"),
            ("silent", "true"),
            ("reads", "cat; echo done"),
            ("shell", "unset began code; code=9; exit $code"),
        ]);
        let seen: Vec<(&str, i32, &str)> = got
            .iter()
            .map(|(name, a)| (name.as_str(), a.code, a.text.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("one", 0, "it's fine\ntwo"),
                ("bad", 3, "no newline"),
                ("silent", 0, ""),
                ("reads", 0, "done"),
                ("shell", 9, ""),
            ]
        );
    }

    #[test]
    fn an_answer_that_was_cut_off_is_none() {
        let text = "T begin a\nfine\n\nT end 0 12\nT begin b\nhalf";
        let got = answers("T", text);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].1.text, "fine");
        assert_eq!(got[0].1.took, Duration::from_millis(12));
    }

    #[test]
    fn answers_are_shown_with_their_code() {
        let answer = |code, text: &str| Answer {
            code,
            text: text.into(),
            took: Duration::ZERO,
        };
        assert_eq!(answer(0, "a\nb").shown(), "a b");
        assert_eq!(answer(2, "no").shown(), "exit code 2: no");
        assert_eq!(answer(2, "").shown(), "exit code 2");
        assert!(answer(124, "").shown().starts_with("no answer within"));
    }
}
