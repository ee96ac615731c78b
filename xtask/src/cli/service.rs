//! The grammar of the verbs for images that run.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::SystemTime;

use clap::Args;

use super::EngineOption;
use ::service::logs::moment;

/// Which services, by the names of their images.
#[derive(Debug, Clone, Default, Args)]
pub struct ServiceSelection {
    /// Image names; all in `images/` where none is given
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
    /// The engine that the services run on.
    #[command(flatten)]
    pub engine: EngineOption,
}

/// Arguments of `up`: which services, and what is asked of their containers.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// The services that are to run.
    #[command(flatten)]
    pub selection: ServiceSelection,
    /// Port of this machine; without it the app's own
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Address of this machine that the port is published on; others than the loopback pass by most firewalls
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub bind: IpAddr,
    /// Answer Prometheus on this port, in the container and on this machine; without it there are no metrics
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub metrics_port: Option<u16>,
    /// Archive PostgreSQL's log on the volume `<image>-archive`, for `restore --at`; without it none is archived
    #[arg(long)]
    pub archive: bool,
    /// Variables for the app: a NAME=value a line, as `docker run --env-file` reads it
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// A file with a secret, which the container has as /run/secrets/NAME; may be given more than once
    #[arg(long, value_name = "NAME=FILE")]
    pub secret: Vec<String>,
    /// Start this image of IMAGE, such as `hive-previous:genie`; without it `hive-<image>:latest`
    #[arg(long, value_name = "REFERENCE")]
    pub image: Option<String>,
    /// Start an image without a proof, too
    #[arg(long)]
    pub unproved: bool,
    /// Do not try another image out on a copy of the data before, as in `update`
    #[arg(long)]
    pub no_rehearsal: bool,
    /// Do not keep the data from before another image, as in `update`
    #[arg(long)]
    pub no_way_back: bool,
    /// End also what was begun on another host with this engine, and of which it cannot be seen here that it is over
    #[arg(long)]
    pub take_over: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `down`, which keeps all data but those that `--volumes` names.
#[derive(Debug, Args)]
pub struct DownArgs {
    /// The services whose containers and networks go.
    #[command(flatten)]
    pub selection: ServiceSelection,
    /// Delete the data of this image, too; without a terminal the flag has to be given twice
    #[arg(long, value_name = "IMAGE")]
    pub volumes: Vec<String>,
}

/// Arguments of `restart`, which starts the same containers again.
#[derive(Debug, Args)]
pub struct RestartArgs {
    /// The services that are stopped and started.
    #[command(flatten)]
    pub selection: ServiceSelection,
}

/// Arguments of `status`, which changes nothing.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The services that are shown.
    #[command(flatten)]
    pub selection: ServiceSelection,
    /// Show what was done to them instead, the last 20 operations
    #[arg(long, conflicts_with = "watch")]
    pub history: bool,
    /// Redraw it whenever something changes, until Ctrl-C
    #[arg(long, conflicts_with = "json")]
    pub watch: bool,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `logs`; a line is printed where all filters let it through.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The services whose lines are printed.
    #[command(flatten)]
    pub selection: ServiceSelection,
    /// Go on with what comes, until Ctrl-C
    #[arg(long, short)]
    pub follow: bool,
    /// Only this program's lines, such as `app` or `postgresql`; may be given more than once
    #[arg(long, value_name = "NAME")]
    pub program: Vec<String>,
    /// Only from then on: 30s, 10m, 2h, 1d ago, or a time like 2026-11-21T03:15:00Z
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub since: Option<SystemTime>,
    /// Only lines that have this text
    #[arg(long, value_name = "TEXT")]
    pub grep: Option<String>,
}

/// Arguments of `health`, which asks each part of a service by itself.
#[derive(Debug, Args)]
pub struct HealthArgs {
    /// The services that are asked.
    #[command(flatten)]
    pub selection: ServiceSelection,
    /// One JSON document on stdout
    #[arg(long)]
    pub json: bool,
}

/// Arguments of `exec`, which runs a command in the container of one service.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The engine that the service runs on.
    #[command(flatten)]
    pub engine: EngineOption,
    /// The image whose service it is run in
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// The command with its arguments, after `--`
    #[arg(last = true, required = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Arguments of `psql`, which is run in the container of one service.
#[derive(Debug, Args)]
pub struct PsqlArgs {
    /// The engine that the service runs on.
    #[command(flatten)]
    pub engine: EngineOption,
    /// The image whose database it is
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// As the superuser, in place of the app's role
    #[arg(long)]
    pub superuser: bool,
    /// Arguments for psql itself, after `--`
    #[arg(last = true, value_name = "ARG")]
    pub args: Vec<OsString>,
}

impl ExecArgs {
    /// The one image as a selection, for what all verbs of services share.
    pub fn selection(&self) -> ServiceSelection {
        of_one(&self.image, self.engine)
    }
}

impl PsqlArgs {
    /// The one image as a selection, for what all verbs of services share.
    pub fn selection(&self) -> ServiceSelection {
        of_one(&self.image, self.engine)
    }
}

fn of_one(image: &str, engine: EngineOption) -> ServiceSelection {
    ServiceSelection {
        images: vec![image.to_owned()],
        engine,
    }
}
