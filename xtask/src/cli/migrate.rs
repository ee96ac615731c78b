//! The grammar of `migrate`.

use clap::{ArgAction, Args};

use super::EngineOption;

/// Arguments of `migrate`.
#[derive(Debug, Args)]
pub struct MigrateArgs {
    /// Which engine.
    #[command(flatten)]
    pub engine: EngineOption,
    /// The image whose service it is
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Where the data are: a container that is stopped, a volume, or a folder of this machine
    #[arg(
        long,
        value_name = "CONTAINER|VOLUME|DIRECTORY",
        required_unless_present = "rollback"
    )]
    pub from: Option<String>,
    /// The app's database, where several of the source have tables
    #[arg(long, value_name = "NAME", conflicts_with = "rollback")]
    pub database: Option<String>,
    /// Only say what would be moved and what stays behind, and touch nothing of the service
    #[arg(long, conflicts_with = "rollback")]
    pub dry_run: bool,
    /// Bring back the data from before the last migration; without a terminal the flag has to be given twice
    #[arg(long, action = ArgAction::Count, conflicts_with = "from")]
    pub rollback: u8,
}
