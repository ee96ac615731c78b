//! What a Python web project is, told from its files alone: no Python is run,
//! nothing is written, and each finding names the line that it stands in.
//!
//! [`findings::look`] reads a folder; [`proposal::propose`] makes of what it
//! found the files that an image of one's own needs. [`import`] holds a single
//! import string against a folder, [`not_started`] the last words of an app.

mod alembic;
mod at_work;
pub mod beside;
pub mod build_steps;
pub mod built;
pub mod called;
pub mod database;
pub mod dependencies;
mod directories;
pub mod django;
pub mod entry;
mod extensions;
pub mod findings;
pub mod health;
pub mod import;
mod its_image;
pub mod libraries;
mod member;
pub mod migrations;
pub mod not_started;
mod notes;
mod own_start;
pub mod place;
pub mod postgres;
pub mod proposal;
pub mod server;
pub mod settings;
pub mod told;

mod debugging;
mod hosts;
mod modules;
mod python;
mod queue;
mod redis;
mod routes;
mod secrets;
mod sqlite;
mod stand_ins;
pub mod tables;
pub mod tree;
mod words;
pub mod workspace;
