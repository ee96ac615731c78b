//! The whole grammar of the command line, and nothing else.

pub mod backup;
pub mod migrate;
pub mod restore;
pub mod service;
pub mod update;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Args, Parser, Subcommand, ValueEnum};

use backup::BackupArgs;
use build::base::Origin;
use build::request::Selection;
use engine::choose::EngineChoice;
use explain::history::select::Selector;
use migrate::MigrateArgs;
use restore::RestoreArgs;
use service::{DownArgs, ExecArgs, HealthArgs, LogsArgs, PsqlArgs, RestartArgs, StatusArgs, UpArgs};
use update::UpdateArgs;

/// What each exit code means, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    fine
  1    a build failed, or the tool itself did
  2    wrong command line, spec or input file
  3    the machine lacks something (engine, network, disk, rights)
  4    a smoke check failed, or a service is not healthy
  5    a --check found drift
  130  interrupted";

const EXAMPLES: &str = "\
Examples:
  cargo xtask build-images                     build, prove and tag all images
  cargo xtask new ../app                       make an image of your own app's
  cargo xtask plan                             what build-images would do, and why
  cargo xtask up genie                         start what was proved, with its data
  cargo xtask smoke agent                      prove the image that hive-agent:latest names
  eval \"$(cargo xtask engine env)\"             let `docker` talk to the same engine";

/// Builds, smoke-tests and tags all-in-one containers. A tag is a proof.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    /// Print each command that is run
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// The checkout to work on; without it the one around the current folder
    #[arg(long, global = true, value_name = "DIR")]
    pub root: Option<PathBuf>,
    /// The verb that is run, with its own arguments.
    #[command(subcommand)]
    pub command: Verb,
}

/// What other tools call some of the verbs.
const CALLED_ELSEWHERE: [(&str, &str); 12] = [
    ("init", "new"),
    ("create", "new"),
    ("build", "build-images"),
    ("verify", "smoke"),
    ("run", "up"),
    ("start", "up"),
    ("stop", "down"),
    ("ps", "status"),
    ("shell", "exec"),
    ("info", "engine status"),
    ("doctor", "engine status"),
    ("clean", "engine purge"),
];

impl Cli {
    /// Reads the arguments of this program; ends it where they are none.
    pub fn read() -> Self {
        Self::try_parse().unwrap_or_else(|error| with_the_verb_here(error).exit())
    }
}

/// Names the verb that one of another tool's is here: what is spelled alike is
/// something else.
fn with_the_verb_here(mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(asked)) = error.get(ContextKind::InvalidSubcommand) else {
        return error;
    };
    let known = CALLED_ELSEWHERE.iter().find(|(other, _)| other == asked);
    if let Some((_, verb)) = known {
        let verb = ContextValue::Strings(vec![(*verb).to_owned()]);
        error.insert(ContextKind::SuggestedSubcommand, verb);
    }
    error
}

/// One verb each; `commands/<verb>.rs` runs it.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build what has changed, smoke-test it, and move the tags if all passes
    ///
    /// Prints `<tag> <image id>` for each tag on stdout. The tags of all requested
    /// images move together or not at all; a failed run leaves them where they were.
    #[command(after_help = EXIT_CODES)]
    BuildImages(BuildImagesArgs),
    /// Run the smoke suite on an image that exists
    ///
    /// IMAGE is a name from `images/` (then its `latest` tag is tested) or any
    /// reference or ID that the engine has and this tool has built.
    #[command(after_help = EXIT_CODES)]
    Smoke(SmokeArgs),
    /// Show what build-images would do, and why
    Plan(PlanArgs),
    /// Say why build-images would do what it would do, in full
    ///
    /// Compares with the last build of this checkout: every changed file (up to 20
    /// of each kind), argument and base, and the changed lines of the Dockerfile.
    /// The last 20 runs of each image that had work to do are recorded.
    Explain(ExplainArgs),
    /// Look at an app, say what it is, and write the files of an image of its own
    ///
    /// Writes `hive-app.json` into the app's folder, unless the defaults suit it, and
    /// `images/<name>/image.json`; files that are there are kept. Each finding names
    /// its line. Nothing of the app is run.
    New(NewArgs),
    /// Write the rendered files: Dockerfiles, compose files and the JSON schema
    Render(RenderArgs),
    /// Start the services of images, each with its volume and its network, and wait until they are healthy
    ///
    /// Starts images with a proof only. Running again changes nothing; another image or
    /// other flags replace the container, and the one before comes back where the new one
    /// does not get healthy. Prints `<image> <address>` for each on stdout.
    #[command(after_help = EXIT_CODES)]
    Up(UpArgs),
    /// Stop services and remove their containers and networks, never their data
    ///
    /// `--volumes IMAGE` deletes the data of that one image, after its name was typed again.
    Down(DownArgs),
    /// Stop services and start them again as they are
    Restart(RestartArgs),
    /// Show all services: health, image, port, memory, data
    Status(StatusArgs),
    /// Print what the programs of services say
    Logs(LogsArgs),
    /// Ask each part of services by itself: SQL, programs, health check, published port
    ///
    /// Exit code 4 where one of them does not work.
    #[command(after_help = EXIT_CODES)]
    Health(HealthArgs),
    /// Run a command in the environment of a service's app
    ///
    /// Input, outputs and the exit code are the command's own.
    Exec(ExecArgs),
    /// Run psql in a service's container, as the app's role
    ///
    /// Input, outputs and the exit code are psql's own.
    Psql(PsqlArgs),
    /// Back up the data of a running service, and prove the backup by restoring it
    ///
    /// One `.tar.zst` that PostgreSQL's own programs read, taken while the service works:
    /// all that was committed before it began is in it. Prints its path on stdout. It is
    /// started in a container without network, and its tables, indexes and sequences are
    /// read; exit code 4 where something in it is not whole.
    #[command(after_help = EXIT_CODES)]
    Backup(BackupArgs),
    /// Make the data of a service those of a backup, and keep what ran before
    ///
    /// The backup is unpacked and made ready beside the data while the service works; then
    /// it is stopped, the two are exchanged, and it is started again. Where it does not get
    /// healthy the data are as before. After a kill, the same command again.
    #[command(after_help = EXIT_CODES)]
    Restore(RestoreArgs),
    /// Put another image in the place of the one that runs, on the same data
    ///
    /// All that is in the way is told at once, before anything is touched. The image is
    /// tried out on a copy of the data, with `before_start` and the checks of its spec, in a
    /// container without network, while the service works. Then the service is stopped, the
    /// data from before are kept, and the new image starts on a copy of them. Where it does
    /// not get healthy container and data are as before, exit code 4; later `--undo` brings
    /// both back. After a kill, the same command again.
    #[command(after_help = EXIT_CODES)]
    Update(UpdateArgs),
    /// Make the data of a service those of a PostgreSQL of the past: a container, a volume, a folder
    ///
    /// The source is never written to, and no server runs on it: a copy is served by programs
    /// of its version, of this major version or an older one. What cannot be moved or stays
    /// behind is told before anything is touched. The new database is compared with the
    /// source, row by row, and proved as a backup is, while the service works; then it is
    /// stopped, the data are exchanged, and it is started again. Where it does not get healthy
    /// the data are as before; later `--rollback` brings them back. After a kill, the same
    /// command again.
    #[command(after_help = EXIT_CODES)]
    Migrate(MigrateArgs),
    /// The engine in use: the system's, or a private one
    Engine(EngineArgs),
    /// The operating-system bases under the images: list, make or pin them
    Base(BaseArgs),
    /// List what a build can read of a folder, with the facts that count
    ///
    /// `644 <blake3> <path>` for each file, `755 directory <path>`, `777 link <path> ->
    /// <target>`, sorted; stderr tells what stays out of the image, and why.
    Inputs(InputsArgs),
    /// Prove the fingerprint: change every fact alone, compare with BuildKit
    ///
    /// Tries each fact of the table in ARCHITECTURE.md on a small definition, and
    /// each declared input of the images in a copy of the checkout. Looser than
    /// BuildKit is an error; where the key is stricter, the table says why.
    #[command(disable_help_flag = true)]
    Audit(ForwardedArgs),
    /// Measure what is promised, beside the peers, in one run
    ///
    /// NAME is a suite (`fingerprint`) or one of its rows; `--list` shows all of them
    /// with their goals. Prints a table on stdout. A goal that is missed is no error.
    #[command(disable_help_flag = true)]
    Bench(ForwardedArgs),
    /// Run all checks and tests, engine tests included
    Test(TestArgs),
}

/// The flag `--engine` of each verb that needs an engine.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct EngineOption {
    /// Force the engine; without it the system's where it is good enough, else a private one
    #[arg(long, value_name = "OWNER", value_enum)]
    pub engine: Option<EngineChoice>,
}

/// Arguments of `build-images`; with `--dry-run` it does what `plan` does.
#[derive(Debug, Default, Args)]
pub struct BuildImagesArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) engine: EngineOption,
    /// CA bundle for builds behind a TLS-intercepting proxy; without it `SSL_CERT_FILE`
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_bundle: Option<PathBuf>,
    /// Go on with the other images when the build of one fails; tags still move for all or none
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Print the plan and stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// How the steps of a build are shown on stderr while it runs
    #[arg(long, value_enum, default_value_t)]
    pub(crate) progress: ProgressMode,
    /// Leave the smoke containers and volumes where they are, for debugging; no later run removes them
    #[arg(long)]
    pub(crate) keep_containers: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProgressMode {
    /// One line per step that was not cached.
    #[default]
    Auto,
    /// Each line that each step prints, too.
    Plain,
    /// No steps; warnings and errors are shown all the same.
    Quiet,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum SuiteChoice {
    /// What every image passes before it gets a tag: seconds.
    #[default]
    Gate,
    /// The gate, then faults: what an image passes before a release.
    Full,
}

/// Arguments of `smoke`, which judges images that are there and builds none.
#[derive(Debug, Args)]
pub struct SmokeArgs {
    /// Image names or references; all in `images/` where none is given
    #[arg(value_name = "IMAGE")]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) engine: EngineOption,
    /// What is run: `full` is the gate and then faults, which takes minutes
    #[arg(long, value_enum, default_value_t)]
    pub(crate) suite: SuiteChoice,
    /// Only this fault of the full suite, and no gate; passing it proves nothing
    #[arg(long, value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Print the names of the suite's checks and faults with what each proves, and stop
    #[arg(long)]
    pub(crate) list: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub(crate) json: bool,
    /// Write a JUnit report to this file, which most CI servers show
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Append a Markdown summary to a file, such as `$GITHUB_STEP_SUMMARY`
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,
    /// Leave the containers and volumes where they are, for debugging; no later run removes them
    #[arg(long)]
    pub(crate) keep_containers: bool,
}

/// Arguments of `explain`: those of `plan`, and which recorded runs to show or
/// compare.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub(crate) plan: PlanArgs,
    /// List the recorded runs instead: their numbers, what was done and how it ended
    #[arg(long, conflicts_with = "from")]
    pub(crate) list: bool,
    /// Say what changed since a recorded run instead: its number, `last`, or the first digits of its fingerprint
    #[arg(long, value_name = "RUN")]
    pub(crate) from: Option<Selector>,
    /// Up to which recorded run
    #[arg(long, value_name = "RUN", default_value = "last", requires = "from")]
    pub(crate) to: Selector,
}

/// Arguments of `plan`, which `explain` takes, too.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub(crate) selection: Selection,
    #[command(flatten)]
    pub(crate) engine: EngineOption,
    /// One JSON document on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `new`, which writes the spec of an image for an app's folder.
#[derive(Clone, Debug, Args)]
pub struct NewArgs {
    /// The app's folder, that of a member in a uv workspace, or the name of an image to look at
    /// its app again
    #[arg(value_name = "DIR|NAME")]
    pub target: String,
    /// The image's name; without it that of the folder
    #[arg(long)]
    pub name: Option<String>,
    /// The app, where several could be meant: `package.module:attribute`, or its file as in
    /// `apps/api/main.py:attribute`; with `()` for a factory
    #[arg(long, value_name = "APP")]
    pub import: Option<String>,
    /// Write this file anew although it is there
    #[arg(long, value_name = "FILE", value_enum)]
    pub overwrite: Vec<OverwrittenFile>,
    /// Say what would be written, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// A file that `new` may write over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverwrittenFile {
    /// That of the app's folder.
    #[value(name = "hive-app.json")]
    App,
    /// The file of the image's folder, `images/<name>/`.
    #[value(name = "image.json")]
    Image,
}

/// Arguments of `render`; without any it writes the rendered files anew.
#[derive(Debug, Args)]
pub struct RenderArgs {
    /// Only compare; exit code 5 where a file is not what it should be
    #[arg(long, conflicts_with = "target")]
    pub(crate) check: bool,
    /// Print a service for something else than compose, and write no file
    #[arg(long = "for", value_name = "TOOL")]
    pub(crate) target: Option<RenderTarget>,
    /// With a volume for PostgreSQL's log, so that a point in time can be reached
    #[arg(long, requires = "target")]
    pub(crate) archive: bool,
    /// Of these images; all, where none is named
    #[arg(value_name = "IMAGE", requires = "target")]
    pub(crate) images: Vec<String>,
}

impl RenderArgs {
    /// Those of `render --check`, which `test` runs, too.
    pub(crate) fn checked() -> Self {
        Self {
            check: true,
            target: None,
            archive: false,
            images: Vec::new(),
        }
    }
}

/// What a service can be printed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RenderTarget {
    /// A unit of systemd, by Podman's Quadlet
    Quadlet,
    /// A stateful set with its claim and its service
    Kubernetes,
}

/// Arguments of `engine`, which starts, stops and deletes the private engine only.
#[derive(Debug, Args)]
pub struct EngineArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub(crate) action: EngineAction,
}

/// What to do with the engine.
#[derive(Debug, Subcommand)]
pub(crate) enum EngineAction {
    /// Say which engine is used, and whether it runs
    Status(EngineOption),
    /// Start the private engine, provisioning it first where needed
    Up,
    /// Stop the private engine; its images and volumes stay
    Down,
    /// Stop the private engine and delete it, with all its images and volumes
    Purge {
        /// Really delete the volumes inside, too
        #[arg(long)]
        delete_data: bool,
    },
    /// Print shell exports for `eval`; nothing where the system's engine is used
    Env(EngineOption),
}

/// Arguments of `base`, which works with the base sets and their lock.
#[derive(Debug, Args)]
pub struct BaseArgs {
    #[command(subcommand)]
    pub(crate) action: BaseAction,
}

/// What to do with bases.
#[derive(Debug, Subcommand)]
pub(crate) enum BaseAction {
    /// List the base sets, and what the engine has of them
    List(EngineOption),
    /// Get a base into the engine, from a registry or from packages
    Make {
        /// Base set from images/base-sets.json; without it the default that the file names
        set: Option<String>,
        /// Force where it comes from
        #[arg(long, value_name = "ORIGIN", value_enum)]
        from: Option<Origin>,
        /// Make it again, with the packages of today
        #[arg(long)]
        again: bool,
        #[command(flatten)]
        engine: EngineOption,
    },
    /// Pin the registry images of the base sets by digest in images/base-sets.lock.json
    Lock(EngineOption),
}

/// Arguments of `inputs`, which lists what a build would read and builds nothing.
#[derive(Debug, Args)]
pub struct InputsArgs {
    /// The folder: an app, or any build context
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// The Dockerfile whose ignore file counts, where it is not the folder's own
    #[arg(long, value_name = "FILE")]
    pub(crate) dockerfile: Option<PathBuf>,
    /// What BuildKit would read: the ignore file alone, without the safe set
    #[arg(long)]
    pub(crate) exact: bool,
    /// One digest over all of them
    #[arg(long, conflicts_with = "json")]
    pub(crate) digest: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub(crate) json: bool,
}

/// Arguments of `test`, which tests this tool and not an app's image.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// Leave the engine tests out; they are reported as skipped
    #[arg(long)]
    pub(crate) no_engine: bool,
    /// For the test harness: names to run, `--nocapture`, …
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
}

/// Arguments of a command that is a program of its own.
#[derive(Debug, Args)]
pub struct ForwardedArgs {
    /// Passed on as they are; `--help` shows them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARG")]
    pub(crate) args: Vec<OsString>,
}
