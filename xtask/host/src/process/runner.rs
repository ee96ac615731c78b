//! Who makes commands, and knows whether the user has asked to stop.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::{Command, DEFAULT_DEADLINE};

/// Makes commands; knows whether the user has asked to stop.
#[derive(Clone, Debug)]
pub struct Runner {
    sh: xshell::Shell,
    interrupt: Interrupt,
}

impl Runner {
    /// `interrupted` is set by the signal handler that `main` installs.
    ///
    /// # Errors
    /// When the current directory does not exist.
    pub fn new(interrupted: Arc<AtomicBool>) -> Result<Self> {
        Ok(Self {
            sh: xshell::Shell::new().context("open the current directory")?,
            interrupt: Interrupt {
                told: interrupted,
                given_up: None,
                cleaning: false,
            },
        })
    }

    /// A runner whose commands go on after Ctrl-C: for clean-up.
    #[must_use]
    pub fn for_cleanup(&self) -> Self {
        let mut runner = self.clone();
        runner.interrupt.cleaning = true;
        runner
    }

    /// A runner that stops once `given_up` is set, too: for work that nobody waits for
    /// any more.
    #[must_use]
    pub fn unless(&self, given_up: &Arc<AtomicBool>) -> Self {
        let mut runner = self.clone();
        runner.interrupt.given_up = Some(Arc::clone(given_up));
        runner
    }

    /// A command with no arguments yet. Standard input is closed, the deadline
    /// two minutes.
    pub fn cmd(&self, program: impl AsRef<Path>) -> Command<'_> {
        Command {
            cmd: self.sh.cmd(program),
            runner: self,
            deadline: DEFAULT_DEADLINE,
            stdin: None,
        }
    }

    /// An error once the user has asked to stop.
    ///
    /// # Errors
    /// [`failure::interrupted`].
    pub fn check_interrupt(&self) -> Result<()> {
        self.interrupt.check()
    }

    /// Sleeps, but no longer than until Ctrl-C.
    ///
    /// # Errors
    /// [`failure::interrupted`].
    pub fn sleep(&self, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        loop {
            self.check_interrupt()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(Duration::from_millis(25)));
        }
    }

    /// What tells of Ctrl-C, for waits in other threads.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupt.is_set()
    }
}

/// Whether the user has asked to stop; never so for clean-up.
#[derive(Clone, Debug)]
pub struct Interrupt {
    told: Arc<AtomicBool>,
    given_up: Option<Arc<AtomicBool>>,
    cleaning: bool,
}

impl Interrupt {
    /// For what is too short to be stopped.
    pub fn never() -> Self {
        Self {
            told: Arc::default(),
            given_up: None,
            cleaning: true,
        }
    }

    /// Whether Ctrl-C or a signal asked to stop, or the work is given up.
    pub fn is_set(&self) -> bool {
        let given_up = self.given_up.iter();
        let mut all = given_up.chain([&self.told]);
        !self.cleaning && all.any(|flag| flag.load(Ordering::Relaxed))
    }

    /// An error once it is set.
    ///
    /// # Errors
    /// [`failure::interrupted`].
    pub fn check(&self) -> Result<()> {
        if self.is_set() {
            bail!(failure::interrupted());
        }
        Ok(())
    }

    /// Whether it belongs to clean-up, which Ctrl-C does not stop.
    pub fn is_for_cleanup(&self) -> bool {
        self.cleaning
    }

    /// A runner for another thread that stops with this.
    ///
    /// # Errors
    /// When the current directory does not exist.
    pub fn runner(&self) -> Result<Runner> {
        Ok(Runner {
            interrupt: self.clone(),
            ..Runner::new(Arc::clone(&self.told))?
        })
    }
}
