//! The grammar of `update`.

use clap::Args;

use super::EngineOption;

/// Arguments of `update`.
#[derive(Debug, Args)]
pub struct UpdateArgs {
    /// Which engine.
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
    #[arg(long, required = true)]
    pub rehearse: bool,
}
