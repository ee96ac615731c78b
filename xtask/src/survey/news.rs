//! Word from the walks to whoever prepares for a build: something changed.

use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};

/// Both ends.
#[derive(Debug)]
pub struct News {
    teller: Teller,
    listener: Option<Listener>,
}

/// The end that tells; each walk has one.
#[derive(Clone, Debug)]
pub struct Teller(SyncSender<()>);

/// The end that hears.
#[derive(Debug)]
pub struct Listener(Receiver<()>);

impl Default for News {
    fn default() -> Self {
        // Once is enough, and whoever has more to tell does not wait.
        let (sender, receiver) = sync_channel(1);
        Self {
            teller: Teller(sender),
            listener: Some(Listener(receiver)),
        }
    }
}

impl News {
    /// For one more to tell.
    pub fn teller(&self) -> Teller {
        self.teller.clone()
    }

    /// For the one to hear it; gone afterwards.
    pub fn listener(&mut self) -> Option<Listener> {
        self.listener.take()
    }
}

impl Teller {
    /// Tells it, to nobody where nobody listens any more.
    pub fn tell(&self) {
        self.0.try_send(()).ok();
    }
}

impl Listener {
    /// Waits until it is told; `false` where nobody is left to tell it.
    pub fn hears(&self) -> bool {
        !matches!(self.0.recv(), Err(RecvError))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_before_and_after_it_listens_or_never() {
        let mut news = News::default();
        let listener = news.listener().unwrap();
        assert!(news.listener().is_none());
        let teller = news.teller();
        teller.tell();
        teller.tell();
        assert!(listener.hears());
        let waits = std::thread::spawn(move || (listener.hears(), listener.hears()));
        teller.tell();
        drop((teller, news));
        assert_eq!(waits.join().unwrap(), (true, false));
    }
}
