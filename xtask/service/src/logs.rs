//! `logs`: what the programs of a service say, one stream, as it was or as it
//! comes.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Result;

use crate::handle::ServiceHandle;
use crate::kept;
use engine::api::follow::Next;
use engine::api::frames::FrameReader;
use host::report::Report;
use inputs::{clock, shown};
use serde_json::Value;

/// Which lines of a service's log are printed, and how.
#[derive(Clone, Debug, Default)]
pub struct LogOptions {
    /// Go on with what comes.
    pub follow: bool,
    /// Only these programs'; all where none is named.
    pub programs: Vec<String>,
    /// Only from this time on.
    pub since: Option<SystemTime>,
    /// Only lines with this text.
    pub grep: Option<String>,
    /// The service's name before each line.
    pub prefix: bool,
}

/// The programs of the image's own in a service's container.
///
/// # Errors
/// When the engine does not answer.
pub fn own_programs(handle: &ServiceHandle) -> Result<Vec<String>> {
    let image = handle.image_file(handle.name.as_str())?.unwrap_or_default();
    let programs = image.get("programs").and_then(Value::as_array);
    let names = programs
        .into_iter()
        .flatten()
        .filter_map(|program| program.get("name")?.as_str());
    Ok(names.map(str::to_owned).collect())
}

/// Prints the log of a service's container; ends where nobody reads any more.
///
/// # Errors
/// When the engine does not answer, or on Ctrl-C.
pub fn print(handle: &ServiceHandle, report: &Report, options: &LogOptions) -> Result<()> {
    let mut path = format!("/containers/{}/logs?stdout=1&stderr=1", handle.name);
    if options.follow {
        path += "&follow=1";
    }
    if let Some(since) = options.since {
        let since = since.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        path += &format!("&since={}.{:09}", since.as_secs(), since.subsec_nanos());
    }
    let log = handle.engine.api.follow(&handle.runner, &path)?;
    let mut frames = FrameReader::default();
    // Of both streams: a line may come in pieces.
    let mut open = [Vec::new(), Vec::new()];
    loop {
        let bytes = match log.next(&handle.runner, None)? {
            Next::Bytes(bytes) => bytes,
            Next::Silence | Next::End => break,
        };
        for (of_stderr, piece) in frames.push(&bytes) {
            let rest = &mut open[usize::from(of_stderr)];
            rest.extend(piece);
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                if !tell(handle, report, options, &line[..end])? {
                    return Ok(());
                }
            }
        }
    }
    for rest in open.iter().filter(|rest| !rest.is_empty()) {
        tell(handle, report, options, rest)?;
    }
    Ok(())
}

/// Prints a log that was kept of a container that is gone.
///
/// # Errors
/// When the file cannot be read.
pub fn print_kept(handle: &ServiceHandle, report: &Report, options: &LogOptions, file: &Path) -> Result<()> {
    for (time, line) in kept::lines(file)? {
        let is_before = options
            .since
            .is_some_and(|since| time.is_some_and(|time| time < since));
        if !is_before && !tell(handle, report, options, line.as_bytes())? {
            break;
        }
    }
    Ok(())
}

/// Prints a line, if it is asked for; whether anybody still reads.
fn tell(handle: &ServiceHandle, report: &Report, options: &LogOptions, line: &[u8]) -> Result<bool> {
    let text = String::from_utf8_lossy(line);
    if !options.wants(&text) {
        return Ok(true);
    }
    // What the app has got from elsewhere must not drive the terminal.
    let text = match report.is_data_shown() {
        true => shown::colored(&text),
        false => text,
    };
    let (program, rest) = parts(&text);
    let mut out = Vec::new();
    if options.prefix {
        out.extend(format!("{} ", handle.name).into_bytes());
    }
    if report.paints_data() {
        out.extend(format!("\u{1b}[{}m{program}\u{1b}[0m{rest}", color(program)).into_bytes());
    } else if report.is_data_shown() {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.extend_from_slice(line);
    }
    out.push(b'\n');
    report.pass(&out)
}

impl LogOptions {
    fn wants(&self, line: &str) -> bool {
        let (program, _) = parts(line);
        let of_program = self.programs.is_empty() || self.programs.iter().any(|wanted| wanted == program);
        of_program && self.grep.as_ref().is_none_or(|text| line.contains(text.as_str()))
    }
}

/// `app | text` as `app` and ` | text`; the container's own lines, `hive: text`, as
/// `hive` and `: text`.
fn parts(line: &str) -> (&str, &str) {
    if let Some(at) = line.find(" | ") {
        let (program, rest) = line.split_at(at);
        if !program.is_empty() && !program.contains(char::is_whitespace) {
            return (program, rest);
        }
    }
    match line.strip_prefix("hive") {
        Some(rest) if rest.starts_with(':') => ("hive", rest),
        _ => ("", line),
    }
}

/// The same program has the same colour in each call.
fn color(program: &str) -> u8 {
    match program {
        "app" => 32,
        "postgresql" => 36,
        "health-monitor" => 33,
        "supervisord" => 90,
        "hive" => 35,
        other => 91 + u8::try_from(other.bytes().map(usize::from).sum::<usize>() % 6).unwrap_or(0),
    }
}

/// A moment as people say it: `10m` ago (`s`, `m`, `h`, `d`), or a time like
/// `2026-11-21T03:15:00Z`.
///
/// # Errors
/// A sentence that says what is known.
pub fn moment(text: &str) -> Result<SystemTime, String> {
    if let Some(time) = clock::parse(text) {
        return Ok(time);
    }
    let ago = || {
        let unit = text.chars().last()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            _ => return None,
        };
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        SystemTime::now().checked_sub(Duration::from_secs(number.checked_mul(seconds)?))
    };
    ago().ok_or_else(|| format!("{text:?} is no time: 30s, 10m, 2h, 1d or 2026-11-21T03:15:00Z"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_told_by_program_and_text() {
        let wants = |programs: &[&str], grep: Option<&str>, line: &str| {
            let options = LogOptions {
                programs: programs.iter().map(|&name| name.to_owned()).collect(),
                grep: grep.map(str::to_owned),
                ..LogOptions::default()
            };
            options.wants(line)
        };
        assert!(wants(&[], None, "anything"));
        assert!(wants(&["app"], None, "app | a | b"));
        assert!(!wants(&["app"], None, "postgresql | app | b"));
        assert!(wants(&["app", "hive"], Some("stopped"), "hive: stopped: app"));
        assert!(!wants(&["hive"], None, "hive is a word"));
        assert!(!wants(&["app"], Some("x"), "app | y"));
        assert_eq!(parts("two words | x"), ("", "two words | x"));
    }

    #[test]
    fn moments_are_ages_or_times() {
        let now = SystemTime::now();
        let age = |text: &str| {
            now.duration_since(moment(text).unwrap())
                .unwrap_or_default()
                .as_secs()
        };
        assert!((599..=600).contains(&age("10m")), "{}", age("10m"));
        assert!((172_799..=172_800).contains(&age("2d")));
        assert_eq!(
            moment("2026-11-21T03:15:00Z").ok(),
            clock::parse("2026-11-21T03:15:00Z")
        );
        for bad in ["", "m", "10", "-1m", "10 m", "99999999999999999999d", "yesterday"] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }
}
