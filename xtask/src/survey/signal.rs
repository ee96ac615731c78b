//! Word from the walks to whoever prepares for a build: something changed.

use std::sync::mpsc::{Receiver, RecvError, SyncSender, sync_channel};

/// The signal as a whole: senders for all who ask for one, one receiver for who
/// asks first.
#[derive(Debug)]
pub(crate) struct ChangeSignal {
    sender: ChangeSender,
    receiver: Option<ChangeReceiver>,
}

/// The end that tells; each walk has one.
#[derive(Clone, Debug)]
pub(crate) struct ChangeSender(SyncSender<()>);

/// The end that hears; there is one, for whoever prepares.
#[derive(Debug)]
pub(crate) struct ChangeReceiver(Receiver<()>);

impl Default for ChangeSignal {
    fn default() -> Self {
        // Once is enough, and whoever has more to tell does not wait.
        let (sender, receiver) = sync_channel(1);
        Self {
            sender: ChangeSender(sender),
            receiver: Some(ChangeReceiver(receiver)),
        }
    }
}

impl ChangeSignal {
    /// For one more to tell.
    pub(crate) fn sender(&self) -> ChangeSender {
        self.sender.clone()
    }

    /// For the one to hear it; gone afterwards.
    pub(crate) fn receiver(&mut self) -> Option<ChangeReceiver> {
        self.receiver.take()
    }
}

impl ChangeSender {
    /// Tells it, to nobody where nobody listens any more.
    pub(crate) fn tell(&self) {
        self.0.try_send(()).ok();
    }
}

impl ChangeReceiver {
    /// Waits until it is told; `false` where nobody is left to tell it.
    pub(crate) fn hears(&self) -> bool {
        !matches!(self.0.recv(), Err(RecvError))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_before_and_after_it_listens_or_never() {
        let mut signal = ChangeSignal::default();
        let receiver = signal.receiver().unwrap();
        assert!(signal.receiver().is_none());
        let sender = signal.sender();
        sender.tell();
        sender.tell();
        assert!(receiver.hears());
        let waits = std::thread::spawn(move || (receiver.hears(), receiver.hears()));
        sender.tell();
        drop((sender, signal));
        assert_eq!(waits.join().unwrap(), (true, false));
    }
}
