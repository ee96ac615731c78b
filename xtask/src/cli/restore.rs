//! The grammar of `restore`.

use std::path::PathBuf;

use clap::{ArgAction, Args};

use super::EngineOption;
use data::moment::WantedMoment;

/// Arguments of `restore`: a file, or what an earlier one has put aside, with `--undo` to
/// bring it back and with `--forget` to delete it.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The engine that the service runs on.
    #[command(flatten)]
    pub engine: EngineOption,
    /// The image whose backup it is, and whose service
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The backup file, as `backup` has made it; with `--at` by default the newest from before then
    #[arg(value_name = "FILE", required_unless_present_any = ["forget", "at", "undo"])]
    pub file: Option<PathBuf>,
    /// Make it the data of this image's service instead, whose app is the same: role and database of the backup get its names
    #[arg(long = "as", value_name = "NAME", conflicts_with = "forget")]
    pub to_image: Option<String>,
    /// What the app was called when the backup was taken, where it has another name now
    #[arg(long, value_name = "APP", conflicts_with = "forget")]
    pub app_was: Option<String>,
    /// The data as they were at this time, such as 2026-11-26T15:00:00Z, by the archive of `up --archive`; UTC where it names no zone
    #[arg(long, value_name = "TIME", conflicts_with = "forget")]
    pub at: Option<WantedMoment>,
    /// The secret key of an encrypted backup, as age wants it
    #[arg(long, value_name = "FILE", conflicts_with = "forget")]
    pub identity: Option<PathBuf>,
    /// Bring back the data from before the last restore; without a terminal the flag has to be given twice
    #[arg(long, action = ArgAction::Count, conflicts_with_all = ["file", "to_image", "app_was", "at", "identity", "forget"])]
    pub undo: u8,
    /// Delete data that an earlier restore or update has put aside, by the name that it told
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    pub forget: Option<String>,
}
