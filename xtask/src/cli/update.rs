//! The grammar of `update`.

use clap::{ArgAction, Args};

use super::EngineOption;

/// Arguments of `update`: the image that is to run, and what is kept of the one
/// before.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// The engine that the service runs on.
    #[command(flatten)]
    pub engine: EngineOption,
    /// The image whose service it is
    #[arg(value_name = "IMAGE")]
    pub name: String,
    /// Put this image of IMAGE there, such as `hive-genie:1.2.0`; without it `hive-<image>:latest`
    #[arg(long, value_name = "REFERENCE")]
    pub image: Option<String>,
    /// Take an image without a proof, too
    #[arg(long)]
    pub unproved: bool,
    /// Only try it out on a copy of the data, and touch nothing of the service
    #[arg(long, conflicts_with_all = ["no_rehearsal", "no_way_back"])]
    pub rehearse: bool,
    /// Do not try it out before
    #[arg(long)]
    pub no_rehearsal: bool,
    /// Do not keep the data from before: the new image works on the only ones
    #[arg(long)]
    pub no_way_back: bool,
    /// Bring back image and data from before the last update, with --image that one on the data; without a terminal the flag has to be given twice
    #[arg(long, action = ArgAction::Count, conflicts_with_all = ["rehearse", "no_rehearsal", "no_way_back"])]
    pub undo: u8,
}
