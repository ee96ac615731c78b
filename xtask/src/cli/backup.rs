//! The grammar of `backup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::EngineOption;
use data::retention::RetentionRule;

/// Arguments of `backup`, which makes a backup unless one of its verbs is named.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub struct BackupArgs {
    /// What to do with backups that are there.
    #[command(subcommand)]
    pub of_files: Option<BackupVerb>,
    /// The engine that the service runs on.
    #[command(flatten)]
    pub engine: EngineOption,
    /// The image whose service it is
    #[arg(value_name = "IMAGE", required = true)]
    pub image: Option<String>,
    /// A file or folder of your own, where `backup list` does not look, or `-` for stdout, which is not proved; without it a new file in the folder of backups
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// The container to ask, where it is not called as the image is
    #[arg(long, value_name = "NAME")]
    pub container: Option<String>,
    /// Of data that were put aside, such as `failed-…` of an update, in the place of those that run; they stay as they are
    #[arg(long, value_name = "GENERATION", conflicts_with = "container")]
    pub generation: Option<String>,
    /// A dump of the app's database by pg_dump, which newer versions of PostgreSQL and other machines read, too
    #[arg(long)]
    pub logical: bool,
    /// Do not restore it; `backup list` and `status` go on saying so
    #[arg(long)]
    pub no_verify: bool,
    /// Start the image on what was restored, too, and ask the checks of its spec
    #[arg(long, conflicts_with = "no_verify")]
    pub boot: bool,
    /// Encrypt it by the program age, to a public key or a file with some of them
    #[arg(long, value_name = "RECIPIENT")]
    pub encrypt: Option<String>,
}

/// What `backup` does with the files that are there.
#[derive(Debug, Subcommand)]
pub enum BackupVerb {
    /// Show the backups, and how far each is proved
    List(BackupListArgs),
    /// Read a backup file whole, and restore it in a container of its own
    Verify(BackupVerifyArgs),
    /// Delete backups that are not among so many days, weeks and months
    ///
    /// Only backups that were restored count, and the last one of them stays whatever is
    /// kept. Those that were never proved go once a newer one is good. Files that are
    /// damaged are left alone.
    Prune(BackupPruneArgs),
}

/// Arguments of `backup list`, which needs no engine: it reads the end of each
/// file.
#[derive(Debug, Args)]
pub struct BackupListArgs {
    /// Image names; all in `images/` where none is given
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `backup verify`; with `--bytes` the file is read and not restored.
#[derive(Debug, Args)]
pub struct BackupVerifyArgs {
    /// The engine that it is restored on.
    #[command(flatten)]
    pub engine: EngineOption,
    /// The backup file, in whichever folder it lies
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Only read it and compare each byte, without an engine
    #[arg(long)]
    pub bytes: bool,
    /// Start the image on what was restored, too, and ask the checks of its spec
    #[arg(long, conflicts_with = "bytes")]
    pub boot: bool,
    /// The secret key of an encrypted one, as age wants it
    #[arg(long, value_name = "FILE", conflicts_with = "bytes")]
    pub identity: Option<PathBuf>,
}

/// Arguments of `backup prune`: whose backups, which stay, and whether many may
/// go.
#[derive(Debug, Args)]
pub struct BackupPruneArgs {
    /// Image names; all in `images/` where none is given
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// The newest of as many days, weeks and months that have a good one, such as 7d,4w,6m
    #[arg(long, value_name = "RULE")]
    pub keep: RetentionRule,
    /// Delete, too, where more go than stay
    #[arg(long)]
    pub yes: bool,
    /// Where archives of PostgreSQL's log are
    #[command(flatten)]
    pub engine: EngineOption,
}
