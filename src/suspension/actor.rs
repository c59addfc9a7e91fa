//! Threads that are not suspended and must make progress.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::sync::thread::index;

use super::gate::PATIENCE;

/// The shard of a thread, relative to that of another one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    /// The same shard.
    Same,
    /// Another shard, if there are several.
    Other,
}

/// Announces what a thread does next.
pub(super) type Say<'a> = &'a dyn Fn(&'static str);

/// A thread that must make progress.
pub(super) struct Actor {
    home: Home,
    thread: JoinHandle<()>,
    said: mpsc::Receiver<&'static str>,
}

impl Actor {
    /// Starts `act` on a thread with this home, relative to that of thread number `suspended`.
    pub(super) fn new(
        home: Home,
        suspended: usize,
        act: impl FnOnce(Say) + Send + 'static,
    ) -> Self {
        // Thread numbers cannot be chosen, so this starts threads until one has a number that
        // fits. There are at most eight shards, and their number is a power of two.
        let fits = |index: usize| match home {
            Home::Same => index % 8 == suspended % 8,
            Home::Other => index % 2 != suspended % 2,
        };
        let mut others = Vec::new();
        loop {
            let (tell, told) = mpsc::channel();
            let (give, given) = mpsc::channel::<Box<dyn FnOnce() + Send>>();
            let thread = thread::spawn(move || {
                tell.send(index()).unwrap();
                given.into_iter().for_each(|act| act());
            });
            if fits(told.recv().unwrap()) {
                let (say, said) = mpsc::channel();
                let act = move || act(&|what| say.send(what).unwrap());
                give.send(Box::new(act)).unwrap();
                return Self { home, thread, said };
            }
            others.push(give);
        }
    }

    /// Waits until the thread has finished, and fails if it makes no progress or panics.
    pub(super) fn watch(self) {
        let mut doing = "start";
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(what) => doing = what,
                Err(mpsc::RecvTimeoutError::Timeout) => panic!("stuck: {doing}, {:?}", self.home),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
        }
        let home = self.home;
        self.thread
            .join()
            .unwrap_or_else(|_| panic!("failed: {doing}, {home:?}"));
    }
}
