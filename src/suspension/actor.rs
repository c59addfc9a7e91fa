//! Threads that are not suspended, and are to get on.

use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::sync::thread::index;

use super::gate::PATIENCE;

/// Where a thread is, relative to another one.
#[derive(Clone, Copy, Debug)]
pub(super) enum Home {
    /// On its shard.
    Same,
    /// On another, if there are several.
    Other,
}

/// Tells what a thread is about to do.
pub(super) type Say<'a> = &'a dyn Fn(&'static str);

/// A thread that is not suspended.
pub(super) struct Actor {
    home: Home,
    thread: JoinHandle<()>,
    said: mpsc::Receiver<&'static str>,
}

impl Actor {
    /// Has a thread act that is at home where it should be.
    pub(super) fn new(
        home: Home,
        suspended: usize,
        act: impl FnOnce(Say) + Send + 'static,
    ) -> Self {
        // Numbers cannot be chosen, so threads are started until one has a
        // number that fits. Shards are at most eight, and a power of two.
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

    /// Waits until the thread is done.
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
